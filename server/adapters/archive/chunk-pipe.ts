interface Offer {
  readonly chunk: Uint8Array;
  readonly taken: () => void;
  readonly refused: (error: unknown) => void;
}

/**
 * Hands chunks from a writer to one reader. A write settles when the reader comes back for more, so a parser that pulls
 * can be fed by pushes with one chunk in memory.
 */
export class ChunkPipe implements AsyncIterable<Uint8Array> {
  #offer: Offer | undefined;
  #lent: Offer | undefined;
  #wake: (() => void) | undefined;
  #ended = false;
  #closed: { readonly error: unknown } | undefined;

  write(chunk: Uint8Array): Promise<void> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed.error);
    return new Promise((taken, refused) => {
      this.#offer = { chunk, taken, refused };
      this.#wake?.();
    });
  }

  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  /** The reader will not come back; a write that waits, and every later one, fails with this error. */
  close(error: unknown): void {
    this.#closed ??= { error };
    for (const offer of [this.#lent, this.#offer]) offer?.refused(error);
    this.#lent = undefined;
    this.#offer = undefined;
    this.#ended = true;
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    for (;;) {
      this.#lent?.taken();
      this.#lent = undefined;
      while (this.#offer === undefined && !this.#ended) {
        await new Promise<void>((wake) => {
          this.#wake = wake;
        });
      }
      const offer = this.#offer;
      if (offer === undefined) {
        if (this.#closed !== undefined) throw this.#closed.error;
        return;
      }
      this.#offer = undefined;
      this.#lent = offer;
      yield offer.chunk;
    }
  }
}
