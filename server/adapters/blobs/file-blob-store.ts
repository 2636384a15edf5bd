import { constants, type Stats } from "node:fs";
import { chmod, lstat, mkdir, open, readdir, rename, rm, utimes } from "node:fs/promises";
import { dirname, join } from "node:path";
import { NotFound, OffsetBeyondEnd } from "../../domain/errors.ts";
import type { BlobStore, StagedBlob, StoredItem } from "../../domain/ports/blob-store.ts";
import { isSha256 } from "../../domain/sha256.ts";
import { hasCode, orUndefined } from "../../domain/storage-error.ts";
import { DigestTurns } from "./digest-turns.ts";
import { readRange } from "./file-range.ts";
import { UploadStaging } from "./upload-staging.ts";

const { O_NOFOLLOW, O_RDONLY } = constants;

/**
 * Blobs as files: `blobs/sha256/ab/<digest>`, and `uploads/` beside it on the same filesystem, so that a whole upload moves in
 * by one rename. The folder belongs to the server alone (0700), and one server process owns it.
 */
export class FileBlobStore implements BlobStore {
  readonly #blobs: string;
  readonly #staging: UploadStaging;
  readonly #turns = new DigestTurns();
  #hasFolder = false;

  /** `directory` is the server's data folder. */
  constructor({ directory }: { directory: string }) {
    this.#blobs = join(directory, "blobs", "sha256");
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
    return (await statOrUndefined(this.#pathOf(sha256)))?.size;
  }

  async *read(sha256: string, offset: number, signal?: AbortSignal): AsyncIterable<Uint8Array> {
    const file = await open(this.#pathOf(sha256), O_RDONLY | O_NOFOLLOW).catch((error: unknown) => {
      throw hasCode(error, "ENOENT")
        ? new NotFound("blob", sha256, "it was never sent or has expired")
        : error;
    });
    try {
      const { size } = await file.stat();
      if (offset > size) throw new OffsetBeyondEnd(offset, size);
      yield* readRange(file, offset, size, signal);
    } finally {
      await file.close();
    }
  }

  async remove(sha256: string): Promise<void> {
    await rm(this.#pathOf(sha256), { force: true });
  }

  async removeBefore(sha256: string, time: Date): Promise<boolean> {
    const path = this.#pathOf(sha256);
    // Moving in waits for this: an equal blob that comes between the look and the removal must stay.
    return await this.#turns.run(sha256, async () => {
      const stats = await statOrUndefined(path);
      if (stats === undefined || stats.mtime >= time) return false;
      await rm(path, { force: true });
      return true;
    });
  }

  async *list(): AsyncGenerator<StoredItem> {
    for (const shard of (await orUndefined(readdir(this.#blobs), "ENOENT")) ?? []) {
      for (const sha256 of await readdir(join(this.#blobs, shard))) {
        if (!isSha256(sha256)) continue;
        const stats = await statOrUndefined(join(this.#blobs, shard, sha256));
        if (stats !== undefined) yield { sha256, time: stats.mtime };
      }
    }
  }

  async #moveIn(path: string, sha256: string): Promise<void> {
    const target = this.#pathOf(sha256);
    const shard = dirname(target);
    await this.#prepare();
    const made = await mkdir(shard, { recursive: true, mode: 0o700 });
    // Replaces an equal file on purpose: its age starts anew, so that a collector with a grace time leaves it alone.
    await rename(path, target);
    const now = new Date();
    await utimes(target, now, now);
    await syncFolder(shard);
    if (made !== undefined) await syncFolder(this.#blobs);
  }

  #pathOf(sha256: string): string {
    if (!isSha256(sha256))
      throw new NotFound("blob", JSON.stringify(sha256), "a digest is 64 lower-case hex digits");
    return join(this.#blobs, sha256.slice(0, 2), sha256);
  }

  async #prepare(): Promise<void> {
    if (this.#hasFolder) return;
    await mkdir(this.#blobs, { recursive: true, mode: 0o700 });
    await chmod(this.#blobs, 0o700);
    this.#hasFolder = true;
  }
}

async function statOrUndefined(path: string): Promise<Stats | undefined> {
  return orUndefined(lstat(path), "ENOENT");
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, O_RDONLY);
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
