import type { ArchiveReader } from "../domain/ports/archive-reader.ts";
import type { BlobIndex, BlobStore } from "../domain/ports/blob-store.ts";
import type { Removals } from "./removals.ts";

/** Bytes come first and what names them second; younger ones may still wait for their name. */
const GRACE_MILLIS = 10 * 60_000;
const BATCH = 500;
/** Looking at every blob takes long, and money where the store counts requests; orphans are rare. */
const ORPHANS_MILLIS = 3_600_000;

export interface CollectBlobsDeps {
  readonly index: BlobIndex;
  readonly blobs: BlobStore;
  readonly archives: ArchiveReader;
  readonly removals: Removals;
  /** How long an upload stays that no task names. */
  readonly unusedMillis: number;
  readonly clock: () => Date;
}

/** Removes the bytes that nothing names: uploads that nobody used for long, what removed tasks left. */
export class CollectBlobs {
  readonly #deps: CollectBlobsDeps;
  #orphansTime = Number.NEGATIVE_INFINITY;

  constructor(deps: CollectBlobsDeps) {
    this.#deps = deps;
  }

  /** Removes the blob and what was derived from it, unless something names it or it came just now. */
  async collect(sha256: string): Promise<void> {
    const { index, blobs, archives, removals } = this.#deps;
    if (await index.isReferenced(sha256)) return;
    if (!(await blobs.removeBefore(sha256, this.#graceStart()))) return;
    await archives.remove(sha256);
    removals.add("BLOB", sha256);
  }

  async run(): Promise<void> {
    const { index, unusedMillis, clock } = this.#deps;
    const before = new Date(clock().getTime() - unusedMillis);
    for (;;) {
      const digests = await index.removeUnused(before, BATCH);
      for (const sha256 of digests) await this.collect(sha256);
      if (digests.length < BATCH) break;
    }
    const now = clock().getTime();
    if (now - this.#orphansTime < ORPHANS_MILLIS) return;
    await this.#collectOrphans();
    this.#orphansTime = now;
  }

  /** What a server that was killed left between bytes and name, or between the removal of a task and of its bytes. */
  async #collectOrphans(): Promise<void> {
    const { blobs, archives, removals } = this.#deps;
    const grace = this.#graceStart();
    for await (const { sha256, time } of blobs.list()) if (time < grace) await this.collect(sha256);
    for await (const { sha256, time } of archives.list()) {
      // Derived from the blob, so that it can be made anew but is of no use without it.
      if (time >= grace || (await blobs.size(sha256)) !== undefined) continue;
      await archives.remove(sha256);
      removals.add("ARCHIVE", sha256);
    }
  }

  #graceStart(): Date {
    return new Date(this.#deps.clock().getTime() - GRACE_MILLIS);
  }
}
