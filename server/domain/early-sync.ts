const MEBIBYTE = 2 ** 20;

/**
 * Makes a long file durable while it is still being written, part after part, so that its end waits for the last part alone and
 * not for gigabytes that the system has kept in memory.
 */
export class EarlySync {
  readonly #sync: () => Promise<void>;
  readonly #everyBytes: number;
  #unsynced = 0;
  #running: Promise<void> | undefined;
  #failure: { readonly error: unknown } | undefined;

  constructor(sync: () => Promise<void>, everyBytes = 32 * MEBIBYTE) {
    this.#sync = sync;
    this.#everyBytes = everyBytes;
  }

  /** So many bytes more are in the file; waits for nothing. */
  wrote(bytes: number): void {
    this.#unsynced += bytes;
    if (this.#unsynced < this.#everyBytes || this.#running !== undefined) return;
    this.#unsynced = 0;
    this.#running = this.#sync()
      .catch((error: unknown) => {
        // Told once only by the system: a later sync would succeed and hide it.
        this.#failure ??= { error };
      })
      .finally(() => {
        this.#running = undefined;
      });
  }

  /** Waits for what is under way; throws what went wrong in any part. */
  async settled(): Promise<void> {
    await this.#running;
    if (this.#failure !== undefined) throw this.#failure.error;
  }
}
