/** So many urgent calls may pass a waiting patient one: under lasting load, removals must still come through. */
const PASSES = 4;

interface Waiting {
  readonly admit: () => void;
}

/**
 * Caps the daemon calls in flight. Parallel starts get slower, not faster, beyond a few (32 at once take 12 times as long as
 * one), and what nobody waits for (refills, removals) lets what somebody waits for go first.
 */
export class CallGate {
  #free: number;
  /** Urgent calls let in since a patient one was. */
  #streak = 0;
  readonly #urgent: Waiting[] = [];
  readonly #patient: Waiting[] = [];

  constructor(slots: number) {
    this.#free = slots;
  }

  async run<T>(call: () => Promise<T>, patience: "urgent" | "patient" = "urgent"): Promise<T> {
    await this.#enter(patience);
    try {
      return await call();
    } finally {
      this.#leave();
    }
  }

  #enter(patience: "urgent" | "patient"): Promise<void> {
    if (this.#free > 0) {
      this.#free--;
      return Promise.resolve();
    }
    const queue = patience === "urgent" ? this.#urgent : this.#patient;
    return new Promise((admit) => queue.push({ admit }));
  }

  #leave(): void {
    const next = this.#next();
    if (next === undefined) this.#free++;
    else next.admit();
  }

  #next(): Waiting | undefined {
    if (this.#patient.length > 0 && (this.#streak >= PASSES || this.#urgent.length === 0)) {
      this.#streak = 0;
      return this.#patient.shift();
    }
    this.#streak++;
    return this.#urgent.shift();
  }
}
