import { createInflateRaw, type InflateRaw, inflateRawSync } from "node:zlib";
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

/** The same for what fits in memory; all of `compressedSize` is read, what was not needed is given back. */
export async function* inflateAtOnce(
  input: ByteReader,
  { compressedSize, size }: { compressedSize: number; size: number },
): AsyncGenerator<Uint8Array> {
  const compressed = await input.exactly(compressedSize);
  let result: unknown;
  try {
    // One byte more than announced is enough to tell that there is more.
    result = inflateRawSync(compressed, { info: true, maxOutputLength: size + 1 });
  } catch (error) {
    if (!hasCode(error, "ERR_BUFFER_TOO_LARGE")) throw inflateError(error);
    throw new BadArchive("size", `it grows to more than the ${size} bytes that it claims`);
  }
  if (!isInflated(result)) throw new TypeError("zlib tells how many bytes it used");
  input.giveBack(compressed.subarray(result.engine.bytesWritten));
  if (result.buffer.length > 0) yield result.buffer;
}

/** The types of node:zlib leave out what `info` changes about the answer. */
function isInflated(value: unknown): value is { buffer: Uint8Array; engine: { bytesWritten: number } } {
  if (typeof value !== "object" || value === null || !("buffer" in value) || !("engine" in value))
    return false;
  const { buffer, engine } = value;
  return (
    buffer instanceof Uint8Array &&
    typeof engine === "object" &&
    engine !== null &&
    "bytesWritten" in engine &&
    typeof engine.bytesWritten === "number"
  );
}

/** Hands over chunks until the engine has its last byte; answers how many bytes that took. */
async function feed(engine: InflateRaw, input: ByteReader): Promise<{ fed: number; last: Uint8Array }> {
  let fed = 0;
  let last: Uint8Array = new Uint8Array(0);
  let goOn: () => void = () => undefined;
  // A consumer that gives up destroys the engine, which then leaves a write unanswered.
  engine.once("close", () => goOn());
  try {
    // Bytes that it leaves lie behind the end of its stream.
    while (engine.bytesWritten === fed && !engine.destroyed) {
      const chunk = await input.some(INPUT_BYTES);
      if (chunk === undefined) {
        engine.end();
        break;
      }
      fed += chunk.length;
      last = chunk;
      await new Promise<void>((resolve) => {
        goOn = resolve;
        engine.write(chunk, () => resolve());
      });
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
