import { createHash } from "node:crypto";
import { NotFound, OffsetBeyondEnd, UploadInProgress } from "#server/domain/errors.ts";
import type { BlobStore, StagedBlob, StoredItem } from "#server/domain/ports/blob-store.ts";

const CHUNK_BYTES = 2 ** 20;

interface Staged {
  bytes: Buffer;
  touched: Date;
}

/** A blob store over maps. Its staged uploads have no path on disk: what needs one (a zip) is tested with files. */
export class MemoryBlobStore implements BlobStore {
  readonly #blobs = new Map<string, Buffer>();
  readonly #times = new Map<string, Date>();
  readonly #staged = new Map<string, Staged>();
  readonly #held = new Set<string>();
  #writes = 0;

  async stage(key: string): Promise<StagedBlob> {
    if (this.#held.has(key)) throw new UploadInProgress(`another upload of ${key} is in progress`);
    this.#held.add(key);
    const staged = this.#staged.get(key) ?? { bytes: Buffer.alloc(0), touched: new Date() };
    this.#staged.set(key, staged);
    const release = (keep: boolean) => {
      this.#held.delete(key);
      if (!keep || staged.bytes.length === 0) this.#staged.delete(key);
    };
    let isOpen = true;
    const close = async (keep: boolean) => {
      if (isOpen) release(keep);
      isOpen = false;
    };
    return {
      path: `memory:${key}`,
      get committedBytes() {
        return staged.bytes.length;
      },
      append: async (chunk) => {
        staged.bytes = Buffer.concat([staged.bytes, chunk]);
        staged.touched = new Date();
      },
      read: () => slices(staged.bytes, 0),
      commit: async () => undefined,
      promote: async (sha256) => {
        this.#blobs.set(sha256, staged.bytes);
        this.#times.set(sha256, new Date());
        await close(false);
      },
      discard: () => close(false),
      [Symbol.asyncDispose]: () => close(true),
    };
  }

  async stagedBytes(key: string): Promise<number> {
    return this.#staged.get(key)?.bytes.length ?? 0;
  }

  async size(sha256: string): Promise<number | undefined> {
    return this.#blobs.get(sha256)?.length;
  }

  async *read(sha256: string, offset: number, signal?: AbortSignal): AsyncIterable<Uint8Array> {
    const bytes = this.#blobs.get(sha256);
    if (bytes === undefined) throw new NotFound("blob", sha256);
    if (offset > bytes.length) throw new OffsetBeyondEnd(offset, bytes.length);
    yield* slices(bytes, offset, signal);
  }

  async write(
    source: AsyncIterable<Uint8Array>,
    signal?: AbortSignal,
  ): Promise<{ sha256: string; sizeBytes: number }> {
    this.#writes += 1;
    const staged = await this.stage(`write ${this.#writes}`);
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
    this.#blobs.delete(sha256);
    this.#times.delete(sha256);
  }

  async removeBefore(sha256: string, time: Date): Promise<boolean> {
    const came = this.#times.get(sha256);
    if (came === undefined || came >= time) return false;
    await this.remove(sha256);
    return true;
  }

  async *list(): AsyncGenerator<StoredItem> {
    for (const [sha256, time] of [...this.#times]) yield { sha256, time };
  }

  async removeStagedBefore(time: Date): Promise<number> {
    const old = [...this.#staged].filter(([key, { touched }]) => !this.#held.has(key) && touched < time);
    for (const [key] of old) this.#staged.delete(key);
    return old.length;
  }
}

async function* slices(bytes: Buffer, offset: number, signal?: AbortSignal): AsyncGenerator<Uint8Array> {
  for (let at = offset; at < bytes.length; at += CHUNK_BYTES) {
    signal?.throwIfAborted();
    yield Buffer.from(bytes.subarray(at, at + CHUNK_BYTES));
  }
}
