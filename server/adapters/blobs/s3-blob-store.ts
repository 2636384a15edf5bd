import { lstat, rm } from "node:fs/promises";
import { NotFound, OffsetBeyondEnd, SystemFault } from "../../domain/errors.ts";
import type { BlobStore, StagedBlob, StoredItem } from "../../domain/ports/blob-store.ts";
import { isSha256 } from "../../domain/sha256.ts";
import { DigestTurns } from "./digest-turns.ts";
import type { S3Bucket } from "./s3-bucket.ts";
import { isBeyondEnd, isMissing } from "./s3-errors.ts";
import { UploadStaging } from "./upload-staging.ts";

const FOLDER = "sha256/";

/** Where a blob lies in the bucket. */
export function blobKey(sha256: string): string {
  if (!isSha256(sha256))
    throw new NotFound("blob", JSON.stringify(sha256), "a digest is 64 lower-case hex digits");
  return `${FOLDER}${sha256.slice(0, 2)}/${sha256}`;
}

/**
 * Blobs in a bucket of an S3-compatible store: `sha256/ab/<digest>` below the prefix, which one server alone uses. Uploads on
 * their way stay on this server's disk until they are whole, so that they resume wherever they broke off, and a store that is
 * away costs no byte of them.
 */
export class S3BlobStore implements BlobStore {
  readonly #bucket: S3Bucket;
  readonly #staging: UploadStaging;
  readonly #turns = new DigestTurns();

  /** `directory` is the server's data folder. */
  constructor({ bucket, directory }: { bucket: S3Bucket; directory: string }) {
    this.#bucket = bucket;
    this.#staging = new UploadStaging(directory, (path, sha256) =>
      this.#turns.run(sha256, () => this.#moveIn(path, sha256)),
    );
  }

  stage(key: string): Promise<StagedBlob> {
    return this.#staging.stage(key);
  }

  stagedBytes(key: string): Promise<number> {
    return this.#staging.stagedBytes(key);
  }

  removeStagedBefore(time: Date): Promise<number> {
    return this.#staging.removeBefore(time);
  }

  write(
    source: AsyncIterable<Uint8Array>,
    signal?: AbortSignal,
  ): Promise<{ sha256: string; sizeBytes: number }> {
    return this.#staging.write(source, signal);
  }

  async size(sha256: string): Promise<number | undefined> {
    return (await this.#bucket.head(blobKey(sha256)))?.sizeBytes;
  }

  async *read(sha256: string, offset: number, signal?: AbortSignal): AsyncIterable<Uint8Array> {
    try {
      yield* this.#bucket.read(blobKey(sha256), offset, signal);
    } catch (error) {
      if (isMissing(error)) throw new NotFound("blob", sha256, "it was never sent or has expired");
      if (!isBeyondEnd(error)) throw error;
      const size = (await this.size(sha256)) ?? 0;
      if (offset > size) throw new OffsetBeyondEnd(offset, size);
    }
  }

  async remove(sha256: string): Promise<void> {
    await this.#bucket.remove(blobKey(sha256));
  }

  async removeBefore(sha256: string, time: Date): Promise<boolean> {
    const key = blobKey(sha256);
    // Moving in waits for this: an equal blob that comes between the look and the removal must stay.
    return await this.#turns.run(sha256, async () => {
      const found = await this.#bucket.head(key);
      if (found === undefined || found.time >= time) return false;
      await this.#bucket.remove(key);
      return true;
    });
  }

  async *list(): AsyncGenerator<StoredItem> {
    for await (const { key, time } of this.#bucket.list(FOLDER)) {
      const sha256 = key.slice(key.lastIndexOf("/") + 1);
      if (isSha256(sha256) && key === blobKey(sha256)) yield { sha256, time };
    }
  }

  /** Makes an object of the bucket the blob of this digest, which the caller has verified; the object itself stays. */
  async takeOver(key: string, sha256: string): Promise<void> {
    await this.#turns.run(sha256, async () => {
      const found = await this.#bucket.head(key);
      if (found === undefined || !(await this.#bucket.copy(key, found.etag, blobKey(sha256))))
        throw new SystemFault(
          `object ${key} of the store of blobs is gone although nobody else may remove it`,
        );
    });
  }

  /** Replaces an equal object on purpose: its age starts anew, so that a collector with a grace time leaves it alone. */
  async #moveIn(path: string, sha256: string): Promise<void> {
    const key = blobKey(sha256);
    await this.#bucket.put(key, path, (await lstat(path)).size, sha256);
    await rm(path, { force: true });
  }
}
