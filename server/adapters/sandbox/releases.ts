/** Releases under way: at most one for each sandbox, which everybody who asks waits for. */
export class Releases {
  readonly #running = new Map<string, Promise<void>>();

  /** Begins `release`, or joins the one of this sandbox that has not ended. */
  join(sandboxId: string, release: (sandboxId: string) => Promise<void>): Promise<void> {
    const running = this.#running.get(sandboxId);
    if (running !== undefined) return running;
    const begun = release(sandboxId).finally(() => this.#running.delete(sandboxId));
    this.#running.set(sandboxId, begun);
    return begun;
  }

  /** Resolves when those under way have ended, well or not. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#running.values());
  }
}
