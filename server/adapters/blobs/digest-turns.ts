/** Lets what concerns one digest happen one after the other. */
export class DigestTurns {
  /** Settles when the last work on a digest is over. */
  readonly #turns = new Map<string, Promise<void>>();

  async run<T>(sha256: string, work: () => Promise<T>): Promise<T> {
    const turn = (this.#turns.get(sha256) ?? Promise.resolve()).then(work);
    const over = turn.then(
      () => undefined,
      () => undefined,
    );
    this.#turns.set(sha256, over);
    try {
      return await turn;
    } finally {
      if (this.#turns.get(sha256) === over) this.#turns.delete(sha256);
    }
  }
}
