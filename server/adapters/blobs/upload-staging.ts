import { createHash, randomUUID } from "node:crypto";
import { constants } from "node:fs";
import { chmod, copyFile, type FileHandle, lstat, mkdir, open, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { EarlySync } from "../../domain/early-sync.ts";
import { UploadInProgress } from "../../domain/errors.ts";
import type { StagedBlob } from "../../domain/ports/blob-store.ts";
import { hasCode, orUndefined, storageError } from "../../domain/storage-error.ts";
import { readRange } from "./file-range.ts";

const { O_APPEND, O_CREAT, O_EXCL, O_NOFOLLOW, O_RDWR } = constants;
/** Begins the names of staged bytes that no client can resume; all others are digests. */
const UNNAMED = "unnamed-";

/** Takes a whole upload over into the store; the file at `path` is then gone or of no use. */
export type MoveIn = (path: string, sha256: string) => Promise<void>;

/** Uploads on their way, as files below `uploads/`, whatever keeps them in the end: a lost connection loses no byte of them. */
export class UploadStaging {
  readonly #folder: string;
  readonly #moveIn: MoveIn;
  readonly #held = new Set<string>();
  #ready: Promise<void> | undefined;

  /** `directory` is the server's data folder, which belongs to the server alone (0700). */
  constructor(directory: string, moveIn: MoveIn) {
    this.#folder = join(directory, "uploads");
    this.#moveIn = moveIn;
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
    return (await orUndefined(lstat(join(this.#folder, fileNameOf(key))), "ENOENT"))?.size ?? 0;
  }

  /** Stages bytes whose digest is not known beforehand, and moves them in. */
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
      const sizeBytes = staged.committedBytes;
      const sha256 = hash.digest("hex");
      await staged.promote(sha256);
      return { sha256, sizeBytes };
    } catch (error) {
      await staged.discard();
      throw error;
    }
  }

  async removeBefore(time: Date): Promise<number> {
    await this.#prepare();
    let removed = 0;
    for (const name of await readdir(this.#folder)) {
      if (this.#held.has(name)) continue;
      // Held while it is looked at, or an upload that resumes just now would lose its file under its feet.
      this.#held.add(name);
      try {
        const path = join(this.#folder, name);
        const stats = await orUndefined(lstat(path), "ENOENT");
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
    const path = join(this.#folder, name);
    try {
      const file = await openStaged(path, join(this.#folder, `${UNNAMED}${randomUUID()}`));
      return new FileStagedBlob({
        path,
        file,
        size: (await file.stat()).size,
        moveTo: (sha256) => this.#moveIn(path, sha256),
        release: () => this.#held.delete(name),
      });
    } catch (error) {
      this.#held.delete(name);
      throw storageError(error, "opening an upload");
    }
  }

  async #prepare(): Promise<void> {
    this.#ready ??= this.#makeFolder();
    try {
      await this.#ready;
    } catch (error) {
      this.#ready = undefined;
      throw storageError(error, "preparing the folder of uploads");
    }
  }

  async #makeFolder(): Promise<void> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    await chmod(this.#folder, 0o700);
    // Halves of an earlier server that nobody can go on with.
    for (const name of await readdir(this.#folder))
      if (name.startsWith(UNNAMED)) await rm(join(this.#folder, name), { force: true });
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

/** Created anew or taken up where it stopped; only a plain file of ours is taken up. */
async function openStaged(path: string, spare: string): Promise<FileHandle> {
  try {
    return await open(path, O_RDWR | O_APPEND | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  } catch (error) {
    if (!hasCode(error, "EEXIST")) throw error;
  }
  const file = await open(path, O_RDWR | O_APPEND | O_NOFOLLOW);
  const stats = await file.stat();
  if (stats.isFile() && stats.nlink === 1) return file;
  await file.close();
  if (!stats.isFile()) throw new Error(`${path} is not a plain file of the server's; remove it`);
  // It was kept as a canonical tar, but never reached the store: going on with it would write into that tar.
  try {
    await copyFile(path, spare, constants.COPYFILE_EXCL);
    await rename(spare, path);
  } catch (error) {
    await rm(spare, { force: true });
    throw error;
  }
  return await open(path, O_RDWR | O_APPEND | O_NOFOLLOW);
}

/** Keys come from clients; a digest of the key is a name that cannot be a path. */
function fileNameOf(key: string): string {
  return createHash("sha256").update(key).digest("hex");
}
