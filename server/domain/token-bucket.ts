/**
 * Lets so much through in the long run and a burst at once. It may be overdrawn: what has come has come, and is waited for after.
 * Times are milliseconds of any clock that only goes forward.
 */
export class TokenBucket {
  readonly #perMilli: number;
  readonly #burst: number;
  #level: number;
  #time: number;

  constructor(perSecond: number, burst: number, now: number) {
    this.#perMilli = perSecond / 1000;
    this.#burst = burst;
    this.#level = burst;
    this.#time = now;
  }

  take(amount: number, now: number): void {
    this.#fill(now);
    this.#level -= amount;
  }

  /** How long until `amount` could be taken without overdrawing it; 0 when it could be now. */
  waitMillis(amount: number, now: number): number {
    this.#fill(now);
    return Math.max(0, Math.ceil((amount - this.#level) / this.#perMilli));
  }

  isFull(now: number): boolean {
    this.#fill(now);
    return this.#level >= this.#burst;
  }

  #fill(now: number): void {
    this.#level = Math.min(this.#burst, this.#level + (now - this.#time) * this.#perMilli);
    this.#time = now;
  }
}
