import { createHash, randomUUID } from "node:crypto";
import { constants, type Stats } from "node:fs";
import { chmod, type FileHandle, lstat, mkdir, open, readdir, rename, rm, utimes } from "node:fs/promises";
import { dirname, join } from "node:path";
import { EarlySync } from "../../domain/early-sync.ts";
import { NotFound, OffsetBeyondEnd, UploadInProgress } from "../../domain/errors.ts";
import type { BlobStore, StagedBlob, StoredItem } from "../../domain/ports/blob-store.ts";
import { hasCode, orUndefined, storageError } from "../../domain/storage-error.ts";

const { O_APPEND, O_CREAT, O_EXCL, O_NOFOLLOW, O_RDONLY, O_RDWR } = constants;
const CHUNK_BYTES = 256 * 1024;
/** Begins the names of staged bytes that no client can resume; all others are digests. */
const UNNAMED = "unnamed-";
const DIGEST = /^[0-9a-f]{64}$/;

/**
 * Blobs as files: `blobs/sha256/ab/<digest>`, and `uploads/` beside it on the same filesystem, so that a whole upload moves in
 * by one rename. The folder belongs to the server alone (0700), and one server process owns it.
 */
export class FileBlobStore implements BlobStore {
  readonly #blobs: string;
  readonly #uploads: string;
  readonly #held = new Set<string>();
  /** Settles when the last move or removal of a digest is over. */
  readonly #turns = new Map<string, Promise<void>>();
  #ready: Promise<void> | undefined;

  /** `directory` is the server's data folder. */
  constructor({ directory }: { directory: string }) {
    this.#blobs = join(directory, "blobs", "sha256");
    this.#uploads = join(directory, "uploads");
  }

  async stage(key: string): Promise<StagedBlob> {
    await this.#prepare();
    const name = fileNameOf(key);
    if (this.#held.has(name)) {
      throw new UploadInProgress(
        "another upload of the same bytes is in progress; wait for it to end, ask GetBlob how far it came, and go on from there",
      );
    }
    return this.#open(name);
  }

  async stagedBytes(key: string): Promise<number> {
    return (await statOrUndefined(join(this.#uploads, fileNameOf(key))))?.size ?? 0;
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

  async write(
    source: AsyncIterable<Uint8Array>,
    signal?: AbortSignal,
  ): Promise<{ sha256: string; sizeBytes: number }> {
    await this.#prepare();
    await using staged = await this.#open(`${UNNAMED}${randomUUID()}`);
    const hash = createHash("sha256");
    try {
      for await (const chunk of source) {
        signal?.throwIfAborted();
        hash.update(chunk);
        await staged.append(chunk);
      }
      signal?.throwIfAborted();
    } catch (error) {
      await staged.discard();
      throw error;
    }
    const sizeBytes = staged.committedBytes;
    const sha256 = hash.digest("hex");
    await staged.promote(sha256);
    return { sha256, sizeBytes };
  }

  async remove(sha256: string): Promise<void> {
    await rm(this.#pathOf(sha256), { force: true });
  }

  async removeBefore(sha256: string, time: Date): Promise<boolean> {
    const path = this.#pathOf(sha256);
    // Moving in waits for this: an equal blob that comes between the look and the removal must stay.
    return await this.#oneAtATime(sha256, async () => {
      const stats = await statOrUndefined(path);
      if (stats === undefined || stats.mtime >= time) return false;
      await rm(path, { force: true });
      return true;
    });
  }

  async *list(): AsyncGenerator<StoredItem> {
    for (const shard of (await orUndefined(readdir(this.#blobs), "ENOENT")) ?? []) {
      for (const sha256 of await readdir(join(this.#blobs, shard))) {
        if (!DIGEST.test(sha256)) continue;
        const stats = await statOrUndefined(join(this.#blobs, shard, sha256));
        if (stats !== undefined) yield { sha256, time: stats.mtime };
      }
    }
  }

  async #oneAtATime<T>(sha256: string, work: () => Promise<T>): Promise<T> {
    const turn = (this.#turns.get(sha256) ?? Promise.resolve()).then(work);
    const over = turn.then(
      () => undefined,
      () => undefined,
    );
    this.#turns.set(sha256, over);
    try {
      return await turn;
    } finally {
      if (this.#turns.get(sha256) === over) this.#turns.delete(sha256);
    }
  }

  async removeStagedBefore(time: Date): Promise<number> {
    await this.#prepare();
    let removed = 0;
    for (const name of await readdir(this.#uploads)) {
      if (this.#held.has(name)) continue;
      // Held while it is looked at, or an upload that resumes just now would lose its file under its feet.
      this.#held.add(name);
      try {
        const path = join(this.#uploads, name);
        const stats = await statOrUndefined(path);
        if (stats !== undefined && stats.mtime < time) {
          await rm(path, { force: true, recursive: true });
          removed += 1;
        }
      } finally {
        this.#held.delete(name);
      }
    }
    return removed;
  }

  async #open(name: string): Promise<FileStagedBlob> {
    this.#held.add(name);
    const path = join(this.#uploads, name);
    try {
      const file = await openStaged(path);
      return new FileStagedBlob({
        path,
        file,
        size: (await file.stat()).size,
        moveTo: (sha256) => this.#oneAtATime(sha256, () => this.#moveIn(path, sha256)),
        release: () => this.#held.delete(name),
      });
    } catch (error) {
      this.#held.delete(name);
      throw storageError(error, "opening an upload");
    }
  }

  async #moveIn(path: string, sha256: string): Promise<void> {
    const target = this.#pathOf(sha256);
    const shard = dirname(target);
    const made = await mkdir(shard, { recursive: true, mode: 0o700 });
    // Replaces an equal file on purpose: its age starts anew, so that a collector with a grace time leaves it alone.
    await rename(path, target);
    const now = new Date();
    await utimes(target, now, now);
    await syncFolder(shard);
    if (made !== undefined) await syncFolder(this.#blobs);
  }

  #pathOf(sha256: string): string {
    if (!DIGEST.test(sha256))
      throw new NotFound("blob", JSON.stringify(sha256), "a digest is 64 lower-case hex digits");
    return join(this.#blobs, sha256.slice(0, 2), sha256);
  }

  async #prepare(): Promise<void> {
    this.#ready ??= this.#makeFolders();
    try {
      await this.#ready;
    } catch (error) {
      this.#ready = undefined;
      throw storageError(error, "preparing the blob folder");
    }
  }

  async #makeFolders(): Promise<void> {
    for (const folder of [this.#blobs, this.#uploads]) {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      await chmod(folder, 0o700);
    }
    // Halves of an earlier server that nobody can go on with.
    for (const name of await readdir(this.#uploads))
      if (name.startsWith(UNNAMED)) await rm(join(this.#uploads, name), { force: true });
  }
}

interface Staging {
  readonly path: string;
  readonly file: FileHandle;
  readonly size: number;
  readonly moveTo: (sha256: string) => Promise<void>;
  readonly release: () => void;
}

class FileStagedBlob implements StagedBlob {
  readonly path: string;
  readonly #staging: Staging;
  readonly #early: EarlySync;
  #committed: number;
  #open = true;

  constructor(staging: Staging) {
    this.path = staging.path;
    this.#early = new EarlySync(() => staging.file.datasync());
    this.#staging = staging;
    this.#committed = staging.size;
  }

  get committedBytes(): number {
    return this.#committed;
  }

  async append(chunk: Uint8Array): Promise<void> {
    let written = 0;
    try {
      while (written < chunk.length) {
        written += (await this.#staging.file.write(chunk, written, chunk.length - written)).bytesWritten;
      }
    } catch (error) {
      // Half a chunk must not count: what is committed is what the client was told of.
      await this.#staging.file.truncate(this.#committed);
      throw storageError(error, "storing an upload");
    }
    this.#committed += chunk.length;
    this.#early.wrote(chunk.length);
  }

  async *read(): AsyncIterable<Uint8Array> {
    yield* readRange(this.#staging.file, 0, this.#committed);
  }

  async commit(): Promise<void> {
    try {
      await this.#early.settled();
      await this.#staging.file.datasync();
    } catch (error) {
      throw storageError(error, "making an upload durable");
    }
  }

  async promote(sha256: string): Promise<void> {
    try {
      await this.#early.settled();
      await this.#staging.file.sync();
      await this.#staging.moveTo(sha256);
    } catch (error) {
      throw storageError(error, "storing a blob");
    }
    await this.#close();
  }

  async discard(): Promise<void> {
    if (!this.#open) return;
    try {
      await rm(this.path, { force: true });
    } finally {
      await this.#close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#open) return;
    // Nothing to resume from an empty file, and a refused first chunk would leave one behind.
    if (this.#committed === 0) await this.discard();
    else await this.#close();
  }

  async #close(): Promise<void> {
    if (!this.#open) return;
    this.#open = false;
    try {
      await this.#staging.file.close();
    } finally {
      this.#staging.release();
    }
  }
}

/** Created anew or taken up where it stopped; only a plain file of ours with one name is taken up. */
async function openStaged(path: string): Promise<FileHandle> {
  try {
    return await open(path, O_RDWR | O_APPEND | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  } catch (error) {
    if (!hasCode(error, "EEXIST")) throw error;
  }
  const file = await open(path, O_RDWR | O_APPEND | O_NOFOLLOW);
  const stats = await file.stat();
  if (stats.isFile() && stats.nlink === 1) return file;
  await file.close();
  throw new Error(`${path} is not a plain file of the server's; remove it`);
}

async function* readRange(
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

/** Keys come from clients; a digest of the key is a name that cannot be a path. */
function fileNameOf(key: string): string {
  return createHash("sha256").update(key).digest("hex");
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
