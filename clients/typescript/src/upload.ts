import { setTimeout as sleep } from "node:timers/promises";
import {
  type Blob,
  Blob_State,
  BlobServiceService,
  type UploadBlobRequest,
} from "@longshore/proto/longshore/v1/blob_service";
import { Backoff } from "./backoff.ts";
import type { CallOptions, Channel } from "./channel.ts";
import { putDirectly } from "./direct.ts";
import { BadArchive, isConnectionLoss, LongshoreError, UploadInProgress, WrongOffset } from "./errors.ts";
import { formatNumber, type UploadSource } from "./upload-source.ts";

/** How long an upload goes on trying without getting any further. */
const GIVE_UP_MILLIS = 60_000;

/** Between questions about an upload that is being checked. */
const CHECKING_MILLIS = 500;

/** How far the way to the server is. */
export type Progress =
  | { readonly phase: "packing"; readonly files: number; readonly bytes: number; readonly done: boolean }
  | {
      readonly phase: "uploading";
      /** Bytes that the server has, those of earlier uploads among them. */
      readonly bytes: number;
      readonly totalBytes: number;
      /** Bytes that were there before this upload and need not be sent. */
      readonly storedBefore: number;
      /** Of an input that goes along, the file; absent for the program itself. */
      readonly name?: string;
      readonly done: boolean;
    };

export interface UploadOptions extends CallOptions {
  /** Sends to the server's store of blobs itself, past the server, where it has addresses for that. */
  readonly direct?: boolean;
  readonly onProgress?: (progress: Progress) => void;
}

/** Something is about to be sent for a task. */
export interface BeforeSending {
  /** Rejects where it need not be. */
  readonly beforeSending?: () => Promise<void>;
}

/** What the server has of a digest. */
export async function getBlob(channel: Channel, sha256: string, options: CallOptions): Promise<Blob> {
  const { blob } = await channel.unary(BlobServiceService.getBlob, { sha256 }, { ...options, retry: true });
  if (blob === undefined)
    throw new LongshoreError("the server answered GetBlob without a blob", { code: "INTERNAL" });
  return blob;
}

/** Makes the server have the bytes: sends nothing that is there, and goes on where a lost connection left off. */
export async function uploadBlob(
  channel: Channel,
  source: UploadSource,
  options: UploadOptions & BeforeSending,
): Promise<Blob> {
  const backoff = new Backoff({ giveUpMillis: GIVE_UP_MILLIS });
  let storedBefore: number | undefined;
  let lastCommitted = 0;
  let direct = options.direct === true;
  for (;;) {
    const blob = await getBlob(channel, source.sha256, options);
    if (blob.state === Blob_State.REFUSED) throw refusal(blob);
    if (blob.state === Blob_State.CHECKING) {
      await sleep(CHECKING_MILLIS, undefined, { signal: options.signal });
      continue;
    }
    const stored = blob.state === Blob_State.STORED;
    const committed = stored
      ? source.sizeBytes
      : blob.state === Blob_State.PARTIAL
        ? Number(blob.committedBytes)
        : 0;
    storedBefore ??= committed;
    const report = (bytes: number, done: boolean) =>
      options.onProgress?.({
        phase: "uploading",
        bytes,
        totalBytes: source.sizeBytes,
        storedBefore: storedBefore ?? 0,
        done,
      });
    report(committed, stored);
    if (stored) return blob;
    await options.beforeSending?.();
    if (committed > lastCommitted) backoff.reset();
    lastCommitted = committed;
    try {
      if (direct && committed === 0) {
        const went = await putDirectly(channel, source, options, (bytes) => report(bytes, false));
        // Once: what becomes of it is asked for next, and what does not arrive goes the usual way.
        direct = false;
        if (went) continue;
      }
      const kept = await sendFrom(channel, source, committed, options, (bytes) => report(bytes, false));
      report(source.sizeBytes, true);
      return kept;
    } catch (error) {
      if (!canGoOn(error)) throw error;
      await backoff.wait(error, options.signal);
    }
  }
}

function canGoOn(error: unknown): boolean {
  // The stream that "is in progress" may be our own, whose end the server has not noticed yet.
  return isConnectionLoss(error) || error instanceof WrongOffset || error instanceof UploadInProgress;
}

function refusal(blob: Blob): BadArchive {
  return new BadArchive(blob.refusal, {
    code: "INVALID_ARGUMENT",
    reason: "BAD_ARCHIVE",
    metadata: { sha256: blob.sha256 },
  });
}

async function sendFrom(
  channel: Channel,
  source: UploadSource,
  offset: number,
  options: UploadOptions,
  onSent: (bytes: number) => void,
): Promise<Blob> {
  const messages = async function* (): AsyncGenerator<UploadBlobRequest, void, undefined> {
    const header = {
      sha256: source.sha256,
      sizeBytes: BigInt(source.sizeBytes),
      offsetBytes: BigInt(offset),
      format: formatNumber(source.format),
    };
    yield { part: { $case: "header", value: header } };
    let sent = offset;
    for await (const chunk of source.read(offset)) {
      options.signal?.throwIfAborted();
      yield { part: { $case: "chunk", value: chunk } };
      sent += chunk.length;
      onSent(sent);
    }
  };
  const { blob } = await channel.clientStream(BlobServiceService.uploadBlob, messages(), options);
  if (blob === undefined)
    throw new LongshoreError("the server answered UploadBlob without a blob", { code: "INTERNAL" });
  return blob;
}
