/** Numbers from 0 to 1 that are the same for the same seed (mulberry32): a run can be repeated, and a failure looked at again. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  below(count: number): number {
    return Math.floor(this.next() * count);
  }

  /** With this mean; the gaps of arrivals that know nothing of each other. */
  exponential(mean: number): number {
    return -mean * Math.log(1 - this.next());
  }

  /** With this mean and a long tail, as runs of programs have: one in a hundred is six times as long as the mean. */
  longTailed(mean: number): number {
    const sigma = 1;
    const normal = Math.sqrt(-2 * Math.log(1 - this.next())) * Math.cos(2 * Math.PI * this.next());
    return mean * Math.exp(sigma * normal - sigma ** 2 / 2);
  }

  /** One of them, by its `share` of all. */
  pick<T extends { readonly share: number }>(from: readonly T[]): T {
    let left = this.next() * from.reduce((sum, { share }) => sum + share, 0);
    for (const each of from) {
      left -= each.share;
      if (left < 0) return each;
    }
    const last = from.at(-1);
    if (last === undefined) throw new Error("there is nothing to pick from");
    return last;
  }
}
