/**
 * Tells whether the canonical tar is the upload itself. Holds what the parser was given and the canonical tar has not yet
 * repeated: a header or two, and the chunk in hand.
 */
export class UploadMirror {
  #ahead: Uint8Array[] = [];
  #repeats = true;

  /** Passes an upload on, and takes note of it. */
  async *watch(upload: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const chunk of upload) {
      if (this.#repeats) this.#ahead.push(chunk);
      yield chunk;
    }
  }

  /** Whether the upload goes on with these very bytes, as it did with all before. False once is false for ever. */
  repeats(bytes: Uint8Array): boolean {
    if (this.#repeats && !this.#take(bytes)) this.#giveUp();
    return this.#repeats;
  }

  /** Whether all of the upload was repeated, and nothing of it is left. To be asked when it has ended. */
  isWhole(): boolean {
    return this.#repeats && this.#ahead.length === 0;
  }

  #take(bytes: Uint8Array): boolean {
    for (let done = 0; done < bytes.length; ) {
      const [chunk] = this.#ahead;
      if (chunk === undefined) return false;
      const length = Math.min(chunk.length, bytes.length - done);
      if (!isEqual(chunk.subarray(0, length), bytes.subarray(done, done + length))) return false;
      if (length < chunk.length) this.#ahead[0] = chunk.subarray(length);
      else this.#ahead.shift();
      done += length;
    }
    return true;
  }

  #giveUp(): void {
    this.#repeats = false;
    this.#ahead = [];
  }
}

/** A file's content comes back as the memory that it came in. */
function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  return (a.buffer === b.buffer && a.byteOffset === b.byteOffset) || Buffer.compare(a, b) === 0;
}
