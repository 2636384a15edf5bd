import type { FileHandle } from "node:fs/promises";
import { RandomAccessReader } from "yauzl";
import { BadArchive } from "../../domain/errors.ts";

const WINDOW_BYTES = 256 * 1024;

/** Reads a file at random, but mostly forward: many small reads cost one of the system's. */
export class FileWindow {
  readonly #file: FileHandle;
  readonly size: number;
  #window: Buffer = Buffer.alloc(0);
  #start = 0;

  constructor(file: FileHandle, size: number) {
    this.#file = file;
    this.size = size;
  }

  /** Exactly `length` bytes, not to be kept beyond the next read. Throws BadArchive where the file ends before. */
  async read(position: number, length: number): Promise<Buffer> {
    if (position + length > this.size) {
      throw new BadArchive("truncated", "the zip ends too early; check that the whole file was sent");
    }
    if (position < this.#start || position + length > this.#start + this.#window.length) {
      this.#window = await this.#load(
        position,
        Math.min(Math.max(length, WINDOW_BYTES), this.size - position),
      );
      this.#start = position;
    }
    return this.#window.subarray(position - this.#start, position - this.#start + length);
  }

  async *range(start: number, end: number): AsyncGenerator<Uint8Array> {
    for (let position = start; position < end; ) {
      const bytes = await this.read(position, Math.min(WINDOW_BYTES, end - position));
      position += bytes.length;
      yield bytes;
    }
  }

  async #load(position: number, length: number): Promise<Buffer> {
    // A new buffer each time: what a decompressor still works on must not change under it.
    const buffer = Buffer.allocUnsafeSlow(length);
    for (let done = 0; done < length; ) {
      const { bytesRead } = await this.#file.read(buffer, done, length - done, position + done);
      if (bytesRead === 0) throw new Error(`the upload shrank to ${position + done} bytes while it was read`);
      done += bytesRead;
    }
    return buffer;
  }
}

/** The window as the zip library wants it. It reads headers only, never data, so there are no streams to give. */
export class WindowReader extends RandomAccessReader {
  readonly #window: FileWindow;

  constructor(window: FileWindow) {
    super();
    this.#window = window;
  }

  override read(
    buffer: Buffer,
    offset: number,
    length: number,
    position: number,
    callback: (error: Error | null) => void,
  ): void {
    this.#window.read(position, length).then(
      (bytes) => {
        bytes.copy(buffer, offset);
        callback(null);
      },
      (error: Error) => callback(error),
    );
  }

  override close(callback: (error: Error | null) => void): void {
    // Whoever opened the file closes it.
    callback(null);
  }
}
