/** What is kept of a build's output for those who wait for it; a build that says more is not worth reading on. */
const MOST_BYTES = 2 ** 20;

/** The output of one build, in memory while somebody may still read it. Only grows. */
export class BuildOutput {
  readonly #chunks: Uint8Array[] = [];
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  push(data: Uint8Array): void {
    const room = MOST_BYTES - this.#bytes;
    if (room <= 0) return;
    // A copy: what a journal hands out is good until its next poll only.
    const kept = Uint8Array.from(data.length > room ? data.subarray(0, room) : data);
    this.#chunks.push(kept);
    this.#bytes += kept.length;
  }

  /** Everything from a place on. */
  from(offset: number): Uint8Array {
    const parts: Uint8Array[] = [];
    let start = 0;
    for (const chunk of this.#chunks) {
      const end = start + chunk.length;
      if (end > offset) parts.push(chunk.subarray(Math.max(0, offset - start)));
      start = end;
    }
    return Buffer.concat(parts);
  }

  text(): string {
    return Buffer.from(this.from(0)).toString("utf8");
  }
}
