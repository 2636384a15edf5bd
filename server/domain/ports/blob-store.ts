import type { BlobRecord } from "../blob.ts";

/** Something kept under a digest, and since when. */
export interface StoredItem {
  readonly sha256: string;
  readonly time: Date;
}

/** Rows about blobs, per tenant. */
export interface BlobIndex {
  find(tenant: string, sha256: string): Promise<BlobRecord | undefined>;
  /** Inserts, or replaces an earlier verdict of the same tenant and digest. */
  put(record: BlobRecord): Promise<void>;
  /** Removes the tenant's row; false when there was none. */
  remove(tenant: string, sha256: string): Promise<boolean>;
  /** Notes that the tenant uses it now, so that it stays; false when the tenant has no such row (any more). */
  touch(tenant: string, sha256: string, time: Date): Promise<boolean>;
  /** Removes rows last used before `time` that no task of their tenant names, at most `limit`; answers their digests. */
  removeUnused(time: Date, limit: number): Promise<string[]>;
  /** Bytes of the tenant's stored blobs and of its tasks' artifacts, together. */
  storedBytes(tenant: string): Promise<number>;
  /** Whether any tenant's row, any task's spec or any artifact still names the digest. */
  isReferenced(sha256: string): Promise<boolean>;
}

/** An upload that is not whole yet: append-only, survives restarts, one writer at a time. */
export interface StagedBlob extends AsyncDisposable {
  readonly committedBytes: number;
  /** Resolves once the bytes are handed to the operating system; backpressure is the returned promise. */
  append(chunk: Uint8Array): Promise<void>;
  /** The committed bytes from the start, to check them again after a resume. */
  read(): AsyncIterable<Uint8Array>;
  /** Makes committedBytes durable. */
  commit(): Promise<void>;
  /** Where the bytes lie, for readers that need random access (zip). */
  readonly path: string;
  /** Moves the bytes into the store under their digest; the caller has verified it. */
  promote(sha256: string): Promise<void>;
  /** Removes the bytes. */
  discard(): Promise<void>;
}

/** Bytes addressed by their sha256, shared by all tenants that sent them. */
export interface BlobStore {
  /** Opens (or creates) the staged upload of this key. Throws UploadInProgress when another stream holds it. */
  stage(key: string): Promise<StagedBlob>;
  /** Bytes staged under a key so far, without opening it; 0 when none. */
  stagedBytes(key: string): Promise<number>;
  /** Size of a stored blob; undefined when it is not here. */
  size(sha256: string): Promise<number | undefined>;
  /** Bytes from an offset, in chunks of at most 1 MiB. */
  read(sha256: string, offset: number, signal?: AbortSignal): AsyncIterable<Uint8Array>;
  /** Stores bytes whose digest is not known beforehand; answers digest and size. */
  write(
    source: AsyncIterable<Uint8Array>,
    signal?: AbortSignal,
  ): Promise<{ sha256: string; sizeBytes: number }>;
  remove(sha256: string): Promise<void>;
  /** Removes it unless it came, or came again, at `time` or later; false when it was not removed. */
  removeBefore(sha256: string, time: Date): Promise<boolean>;
  /** All blobs, with the time when they came last. */
  list(): AsyncIterable<StoredItem>;
  /** Removes staged uploads that nobody touched since `time`; answers how many. */
  removeStagedBefore(time: Date): Promise<number>;
}
