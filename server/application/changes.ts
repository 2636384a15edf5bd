/** Tells listeners that something with a key changed. What changed is read from its owner, so nothing can be missed or queue up. */
export class Changes {
  readonly #listeners = new Map<string, Set<() => void>>();

  tell(key: string): void {
    for (const listener of this.#listeners.get(key) ?? []) listener();
  }

  /** Calls `listener` at every change until the returned function is called. */
  listen(key: string, listener: () => void): () => void {
    const set = this.#listeners.get(key) ?? new Set();
    this.#listeners.set(key, set.add(listener));
    return () => {
      set.delete(listener);
      if (set.size === 0 && this.#listeners.get(key) === set) this.#listeners.delete(key);
    };
  }
}

/** A latch that one consumer waits on: `set` before `wait` is remembered, many sets are one. */
export class Latch {
  #set = false;
  #wake: (() => void) | undefined;

  set(): void {
    this.#set = true;
    this.#wake?.();
  }

  /** Resolves at the next set, at the timeout (false), or when `signal` aborts (false). */
  async wait(signal: AbortSignal, timeoutMillis?: number): Promise<boolean> {
    if (!this.#set && !signal.aborted) {
      await new Promise<void>((resolve) => {
        const done = () => {
          clearTimeout(timer);
          signal.removeEventListener("abort", done);
          resolve();
        };
        const timer = timeoutMillis === undefined ? undefined : setTimeout(done, timeoutMillis);
        this.#wake = done;
        signal.addEventListener("abort", done, { once: true });
      });
      this.#wake = undefined;
    }
    const was = this.#set;
    this.#set = false;
    return was && !signal.aborted;
  }
}
