import { createInflateRaw, type InflateRaw } from "node:zlib";
import { BadArchive } from "../../domain/errors.ts";
import { hasCode } from "../../domain/storage-error.ts";
import type { ByteReader } from "./byte-reader.ts";

const INPUT_BYTES = 256 * 1024;
const OUTPUT_BYTES = 256 * 1024;

export interface InflateOptions {
  /** Told after each piece: decompressed bytes so far, and compressed bytes used for them. Throws to stop. */
  readonly check?: (output: number, input: number) => void;
}

/**
 * Decompresses one deflate stream and leaves the reader exactly behind it. Node's gunzip hides where a stream ends: it
 * joins members and drops trailing bytes, and other readers do not.
 */
export async function* inflateRaw(
  input: ByteReader,
  { check }: InflateOptions = {},
): AsyncGenerator<Uint8Array> {
  const engine = createInflateRaw({ chunkSize: OUTPUT_BYTES });
  const feeding = feed(engine, input);
  // Awaited below where it matters; until then an early rejection must not count as unhandled.
  feeding.catch(() => undefined);
  let output = 0;
  try {
    for await (const piece of engine) {
      if (!(piece instanceof Uint8Array)) throw new TypeError("zlib yields bytes");
      output += piece.length;
      check?.(output, engine.bytesWritten);
      yield piece;
    }
  } catch (error) {
    throw inflateError(error);
  } finally {
    engine.destroy();
  }
  const { fed, last } = await feeding;
  const unused = fed - engine.bytesWritten;
  input.giveBack(last.subarray(last.length - unused));
}

/** Hands over chunks until the engine has its last byte; answers how many bytes that took. */
async function feed(engine: InflateRaw, input: ByteReader): Promise<{ fed: number; last: Uint8Array }> {
  let fed = 0;
  let last: Uint8Array = new Uint8Array(0);
  let over = false;
  const ended = new Promise<void>((resolve) => {
    engine.once("close", () => {
      over = true;
      resolve();
    });
  });
  try {
    while (!over) {
      const chunk = await input.some(INPUT_BYTES);
      if (chunk === undefined) {
        engine.end();
        break;
      }
      fed += chunk.length;
      last = chunk;
      const taken = new Promise<void>((resolve) => {
        // A failure closes the engine and reaches the reader of its output.
        engine.write(chunk, () => resolve());
      });
      await Promise.race([taken, ended]);
    }
  } catch (error) {
    engine.destroy(error instanceof Error ? error : new Error(String(error)));
  }
  return { fed, last };
}

function inflateError(error: unknown): unknown {
  if (hasCode(error, "Z_BUF_ERROR")) {
    return new BadArchive(
      "truncated",
      "the compressed data ends too early; check that the whole file was sent",
    );
  }
  if (hasCode(error, "Z_DATA_ERROR", "Z_NEED_DICT")) {
    return new BadArchive(
      "compression",
      "the compressed data is damaged; pack it again and check that it was sent as it is",
    );
  }
  return error;
}
