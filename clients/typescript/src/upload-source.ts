import { createHash } from "node:crypto";
import { type FileHandle, open } from "node:fs/promises";
import { BlobFormat } from "@longshore/proto/longshore/v1/blob_service";
import { InvalidRequest } from "./errors.ts";

/** The most the server takes in one message, and the fastest size measured. */
export const CHUNK_BYTES = 2 ** 20;

export type BlobFormatName = "raw" | "tar" | "tar.gz" | "zip";

const FORMATS: Readonly<Record<BlobFormatName, BlobFormat>> = {
  raw: BlobFormat.RAW,
  tar: BlobFormat.TAR,
  "tar.gz": BlobFormat.TAR_GZ,
  zip: BlobFormat.ZIP,
};

/** Bytes that can be read from any place, more than once. */
export interface UploadSource {
  readonly sha256: string;
  readonly sizeBytes: number;
  readonly format: BlobFormatName;
  read(offset: number): AsyncIterable<Uint8Array>;
}

/** Reads a file from `offset` in chunks of its own, so that one may be kept while the next is read. */
export async function* readFileFrom(
  path: string,
  offset: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  const file = await open(path);
  try {
    yield* readHandle(file, offset);
  } finally {
    await file.close();
  }
}

async function* readHandle(file: FileHandle, offset: number): AsyncGenerator<Uint8Array, void, undefined> {
  for (let position = offset; ; ) {
    const { buffer, bytesRead } = await file.read(Buffer.allocUnsafe(CHUNK_BYTES), 0, CHUNK_BYTES, position);
    if (bytesRead === 0) return;
    position += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}

/** A file as it is: read once for its digest, and again for what the server lacks. */
export async function fileSource(
  path: string,
  format: BlobFormatName,
  signal?: AbortSignal,
): Promise<UploadSource> {
  const hash = createHash("sha256");
  let sizeBytes = 0;
  for await (const chunk of readFileFrom(path, 0)) {
    signal?.throwIfAborted();
    hash.update(chunk);
    sizeBytes += chunk.length;
  }
  return { sha256: hash.digest("hex"), sizeBytes, format, read: (offset) => readFileFrom(path, offset) };
}

export function bytesSource(bytes: Uint8Array, format: BlobFormatName): UploadSource {
  return {
    sha256: createHash("sha256").update(bytes).digest("hex"),
    sizeBytes: bytes.length,
    format,
    async *read(offset) {
      for (let at = offset; at < bytes.length; at += CHUNK_BYTES) yield bytes.subarray(at, at + CHUNK_BYTES);
    },
  };
}

/** Throws InvalidRequest. */
export function formatNumber(format: BlobFormatName): BlobFormat {
  if (Object.hasOwn(FORMATS, format)) return FORMATS[format];
  const description = `"${format}" is not one of ${Object.keys(FORMATS).join(", ")}`;
  throw new InvalidRequest([{ field: "format", description }]);
}

export function whyUnreadable(error: unknown): string {
  if (!(error instanceof Error) || !("code" in error)) return String(error);
  if (error.code === "ENOENT") return "there is no such file";
  return error.code === "EISDIR" ? "it is a folder; give a file" : error.message;
}
