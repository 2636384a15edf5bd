interface Waiting {
  readonly admit: () => void;
}

/**
 * Caps the daemon calls in flight. Parallel starts get slower, not faster, beyond a few (32 at once take 12 times as long as
 * one), and what nobody waits for (refills, removals) lets what somebody waits for go first.
 */
export class CallGate {
  readonly #slots: number;
  #free: number;
  readonly #urgent: Waiting[] = [];
  readonly #patient: Waiting[] = [];

  constructor(slots: number) {
    this.#slots = slots;
    this.#free = slots;
  }

  /** Nothing is in flight and nothing waits. */
  get idle(): boolean {
    return this.#free === this.#slots && this.#urgent.length === 0;
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
    const next = this.#urgent.shift() ?? this.#patient.shift();
    if (next === undefined) this.#free++;
    else next.admit();
  }
}
