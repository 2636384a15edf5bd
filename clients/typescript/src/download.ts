import { createHash, type Hash } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { Backoff } from "./backoff.ts";
import { DigestMismatch, isConnectionLoss, LongshoreError } from "./errors.ts";

const GIVE_UP_MILLIS = 60_000;

export interface Download {
  readonly sha256: string;
  readonly sizeBytes: number;
  /** Opens the server's stream at an offset. */
  open(offset: number): AsyncIterable<{ readonly offsetBytes: bigint; readonly chunk: Uint8Array }>;
}

export interface DownloadOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (bytes: number, totalBytes: number) => void;
}

/**
 * Writes a download to `destination`, which appears only when it is complete and its digest is right. What arrived before
 * an interruption stays beside it under a name made of the digest, and the next try goes on there.
 */
export async function downloadTo(
  destination: string,
  download: Download,
  options: DownloadOptions,
): Promise<void> {
  const name = `.${basename(destination).slice(0, 100)}.${download.sha256.slice(0, 16)}.partial`;
  const partial = join(dirname(destination), name);
  // Never through a link, whoever put it there.
  const flags = constants.O_RDWR | constants.O_CREAT | (constants.O_NOFOLLOW ?? 0);
  const file = await open(partial, flags, 0o644);
  let digest: string;
  try {
    digest = await fill(file, download, options);
  } finally {
    await file.close();
  }
  if (digest !== download.sha256) {
    await rm(partial, { force: true });
    throw new DigestMismatch(
      `${destination} was not written: the bytes that arrived have the sha256 ${digest}, not ${download.sha256}`,
      { code: "DATA_LOSS", reason: "DIGEST_MISMATCH" },
    );
  }
  await rename(partial, destination);
}

/** Brings the file to its full size and tells the digest of what is in it. */
async function fill(file: FileHandle, download: Download, options: DownloadOptions): Promise<string> {
  const hash = createHash("sha256");
  const backoff = new Backoff({ giveUpMillis: GIVE_UP_MILLIS });
  let position = await digestExisting(file, download.sizeBytes, hash);
  const total = download.sizeBytes;
  options.onProgress?.(position, total);
  while (position < total) {
    try {
      for await (const { offsetBytes, chunk } of download.open(position)) {
        if (Number(offsetBytes) !== position || position + chunk.length > total)
          throw misplaced(position, total);
        await writeFully(file, chunk, position);
        hash.update(chunk);
        position += chunk.length;
        if (chunk.length > 0) backoff.reset();
        options.onProgress?.(position, total);
      }
      if (position < total) throw misplaced(position, total);
    } catch (error) {
      if (!isConnectionLoss(error)) throw error;
      await backoff.wait(error, options.signal);
    }
  }
  return hash.digest("hex");
}

function misplaced(position: number, total: number): LongshoreError {
  return new LongshoreError(`the server's bytes do not go on at ${position} of ${total}`, {
    code: "DATA_LOSS",
    reason: "DIGEST_MISMATCH",
  });
}

/** Digests what an earlier try left, at most as much as there should be. */
async function digestExisting(file: FileHandle, most: number, hash: Hash): Promise<number> {
  const { size } = await file.stat();
  if (size > most) await file.truncate(0);
  const kept = size > most ? 0 : size;
  const buffer = Buffer.allocUnsafe(2 ** 20);
  for (let position = 0; position < kept; ) {
    const { bytesRead } = await file.read(buffer, 0, Math.min(buffer.length, kept - position), position);
    if (bytesRead === 0) return position;
    hash.update(buffer.subarray(0, bytesRead));
    position += bytesRead;
  }
  return kept;
}

async function writeFully(file: FileHandle, chunk: Uint8Array, position: number): Promise<void> {
  for (let written = 0; written < chunk.length; ) {
    const { bytesWritten } = await file.write(chunk, written, chunk.length - written, position + written);
    written += bytesWritten;
  }
}
