/** Keeps the last bytes of a stream and counts all of them. */
export class TailBuffer {
  readonly #kept: Uint8Array;
  #length = 0;
  #total = 0;

  constructor(capacity: number) {
    this.#kept = new Uint8Array(capacity);
  }

  get totalBytes(): number {
    return this.#total;
  }

  push(chunk: Uint8Array): void {
    this.#total += chunk.length;
    const capacity = this.#kept.length;
    const tail = chunk.length > capacity ? chunk.subarray(chunk.length - capacity) : chunk;
    const overflow = Math.max(0, this.#length + tail.length - capacity);
    if (overflow > 0) this.#kept.copyWithin(0, overflow, this.#length);
    this.#kept.set(tail, this.#length - overflow);
    this.#length += tail.length - overflow;
  }

  /** Bytes that were written but not kept. */
  skip(bytes: number): void {
    this.#total += bytes;
  }

  /** As text, invalid UTF-8 replaced; a character cut at the front is left out. */
  text(): string {
    let start = 0;
    if (this.#total > this.#length) {
      while (start < 4 && start < this.#length && ((this.#kept[start] ?? 0) & 0xc0) === 0x80) start++;
    }
    return new TextDecoder().decode(this.#kept.subarray(start, this.#length));
  }
}
