const NOTHING = new Uint8Array(0);

/** Reads a sequence of chunks in the pieces its parser needs, holding one chunk at a time. */
export class ByteReader {
  readonly #chunks: AsyncIterator<Uint8Array>;
  #chunk: Uint8Array = NOTHING;
  /** Given back by a decoder that was handed more than it needed; comes before everything else. */
  #returned: Uint8Array[] = [];

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  /** The next piece of 1 to `most` bytes; undefined at the end. */
  async some(most: number): Promise<Uint8Array | undefined> {
    while (this.#chunk.length === 0) {
      const returned = this.#returned.pop();
      if (returned !== undefined) {
        this.#chunk = returned;
        continue;
      }
      const next = await this.#chunks.next();
      if (next.done === true) return undefined;
      this.#chunk = next.value;
    }
    const piece = this.#chunk.subarray(0, most);
    this.#chunk = this.#chunk.subarray(piece.length);
    return piece;
  }

  /** Exactly `count` bytes; fewer only where the input ends. */
  async exactly(count: number): Promise<Uint8Array> {
    if (this.#chunk.length >= count) {
      const whole = this.#chunk.subarray(0, count);
      this.#chunk = this.#chunk.subarray(count);
      return whole;
    }
    const pieces: Uint8Array[] = [];
    let missing = count;
    while (missing > 0) {
      const piece = await this.some(missing);
      if (piece === undefined) break;
      pieces.push(piece);
      missing -= piece.length;
    }
    return Buffer.concat(pieces);
  }

  /** Makes `bytes` the next to be read. */
  giveBack(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    if (this.#chunk.length > 0) this.#returned.push(this.#chunk);
    this.#chunk = bytes;
  }

  /** Tells the source that nothing more will be read, so that it can let go of what it holds. */
  async close(): Promise<void> {
    await this.#chunks.return?.();
  }
}
