import type { FileHandle } from "node:fs/promises";

/** A journal that is kept open. Closing waits for those who read it at this moment: nobody's descriptor is closed under them. */
export class OpenJournal {
  readonly #handle: FileHandle;
  #uses = 0;
  #idle: (() => void) | undefined;

  constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  async use<T>(read: (journal: FileHandle) => Promise<T>): Promise<T> {
    this.#uses++;
    try {
      return await read(this.#handle);
    } finally {
      this.#uses--;
      if (this.#uses === 0) this.#idle?.();
    }
  }

  /** To be called once, when nobody can find it any more. */
  async close(): Promise<void> {
    if (this.#uses > 0) {
      await new Promise<void>((resolve) => {
        this.#idle = resolve;
      });
    }
    await this.#handle.close();
  }
}
