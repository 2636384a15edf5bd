import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { readdir } from "node:fs/promises";
import { FileArchiveReader } from "#server/adapters/archive/file-archive-reader.ts";
import { FileBlobStore } from "#server/adapters/blobs/file-blob-store.ts";
import { DownloadBlob } from "#server/application/download-blob.ts";
import { GetBlob } from "#server/application/get-blob.ts";
import { PresignedBlobs } from "#server/application/presigned-blobs.ts";
import { RecheckArchive } from "#server/application/recheck-archive.ts";
import { StoredBytes } from "#server/application/stored-bytes.ts";
import { UploadBlob, type UploadHeader } from "#server/application/upload-blob.ts";
import { DEFAULT_ARCHIVE_LIMITS } from "#server/domain/blob.ts";
import type { BlobAddresses } from "#server/domain/ports/blob-addresses.ts";
import type { BlobStore } from "#server/domain/ports/blob-store.ts";
import { NO_QUOTAS } from "#server/domain/quota.ts";
import { file, folder, tar } from "../fixtures/archives/raw-tar.ts";
import { CollectingLog } from "./fakes/collecting-log.ts";
import { CollectingMetrics } from "./fakes/collecting-metrics.ts";
import { MemoryDatabase } from "./fakes/memory-database.ts";
import { TemporaryFolder } from "./temporary-folder.ts";

export const TENANT = "tenant";
export const TIME = new Date("2026-01-02T03:04:05Z");
export const UNUSED_MILLIS = 7 * 86_400_000;
export const MAX_UPLOAD_BYTES = 8 * 2 ** 20;

export const digestOf = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

export interface OpenBlobs {
  readonly blobs: BlobStore;
  readonly addresses?: BlobAddresses;
}

const overFiles = (directory: string): OpenBlobs => ({ blobs: new FileBlobStore({ directory }) });

/** The use cases over real adapters; the index alone is in memory. */
export class Harbour implements AsyncDisposable {
  readonly folder: TemporaryFolder;
  readonly database = new MemoryDatabase();
  readonly index = this.database.blobs;
  readonly blobs: BlobStore;
  readonly archives: FileArchiveReader;
  readonly upload: UploadBlob;
  readonly presigned: PresignedBlobs;
  readonly get: GetBlob;
  readonly download: DownloadBlob;
  readonly recheck: RecheckArchive;

  /** Over files, unless `open` makes another store; its argument is the data folder. */
  static async open(open = overFiles): Promise<Harbour> {
    const folder = await TemporaryFolder.create();
    return new Harbour(folder, open(folder.path));
  }

  private constructor(folder: TemporaryFolder, { blobs, addresses }: OpenBlobs) {
    this.folder = folder;
    this.blobs = blobs;
    this.archives = new FileArchiveReader({ directory: folder.path, limits: DEFAULT_ARCHIVE_LIMITS });
    const { index, archives } = this;
    const storedBytes = new StoredBytes({ quotas: NO_QUOTAS, index });
    this.upload = new UploadBlob({
      blobs,
      index,
      archives,
      metrics: new CollectingMetrics(),
      maxUploadBytes: MAX_UPLOAD_BYTES,
      storedBytes,
      clock: () => TIME,
    });
    this.presigned = new PresignedBlobs({
      blobs,
      index,
      archives,
      addresses: addresses && { of: addresses, lifetimeMillis: 60_000, maxLifetimeMillis: 3_600_000 },
      maxUploadBytes: MAX_UPLOAD_BYTES,
      storedBytes,
      log: new CollectingLog(),
      clock: () => new Date(),
    });
    const { presigned } = this;
    this.get = new GetBlob({ blobs, index, archives, presigned, unusedMillis: UNUSED_MILLIS });
    this.download = new DownloadBlob({ blobs, index: presigned });
    this.recheck = new RecheckArchive({ blobs, archives });
  }

  send(
    bytes: Uint8Array,
    header: Partial<UploadHeader> = {},
    options: {
      tenant?: string;
      purpose?: "project" | "blob";
      chunks?: AsyncIterable<Uint8Array>;
      signal?: AbortSignal;
    } = {},
  ) {
    return this.upload.execute(
      {
        tenant: options.tenant ?? TENANT,
        header: { sha256: digestOf(bytes), sizeBytes: bytes.length, offsetBytes: 0, format: null, ...header },
        purpose: options.purpose ?? "blob",
      },
      options.chunks ?? cut(bytes.subarray(header.offsetBytes ?? 0)),
      options.signal ?? new AbortController().signal,
    );
  }

  async downloaded(sha256: string, offset = 0, tenant = TENANT): Promise<Buffer> {
    const chunks: Uint8Array[] = [];
    let position = offset;
    for await (const part of this.download.execute(tenant, sha256, offset, new AbortController().signal)) {
      assert.equal(part.offset, position);
      position += part.chunk.length;
      chunks.push(part.chunk);
    }
    return Buffer.concat(chunks);
  }

  /** Every file that an upload may have left half-made. */
  async leftovers(): Promise<string[]> {
    const below = (...parts: string[]) => readdir(this.folder.at(...parts)).catch(() => []);
    return [...(await below("uploads")), ...(await below("archives", "tmp"))];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.presigned.close();
    await this.folder[Symbol.asyncDispose]();
  }
}

export async function* cut(bytes: Uint8Array, size = 100_000): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

/** A client that must not be asked for anything. */
export async function* unread(): AsyncGenerator<Uint8Array> {
  yield assert.fail("bytes were asked for");
}

/** Sends the first `count` bytes, then loses the connection. */
export async function* lostAfter(bytes: Uint8Array, count: number): AsyncGenerator<Uint8Array> {
  yield* cut(bytes.subarray(0, count));
  throw new Error("the client is gone");
}

export const project = (): Buffer =>
  tar(folder("src"), file("main.py", randomBytes(400_000)), file("src/a.py"));
