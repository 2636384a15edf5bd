import type { FileHandle } from "node:fs/promises";

const CHUNK_BYTES = 256 * 1024;

export async function* readRange(
  file: FileHandle,
  start: number,
  end: number,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array> {
  let position = start;
  while (position < end) {
    signal?.throwIfAborted();
    // A fresh buffer each time: the reader may keep what it was given.
    const buffer = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, end - position));
    const { bytesRead } = await file.read(buffer, 0, buffer.length, position);
    if (bytesRead === 0) throw new Error(`the file ended at byte ${position} of ${end} while it was read`);
    position += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}
