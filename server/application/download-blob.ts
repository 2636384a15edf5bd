import { InvalidRequest, NotFound } from "../domain/errors.ts";
import type { BlobIndex, BlobStore } from "../domain/ports/blob-store.ts";
import { requireDigest } from "./require-digest.ts";

/** Bytes of a download and their place in it. */
export interface Chunk {
  readonly offset: number;
  readonly chunk: Uint8Array;
}

export class DownloadBlob {
  readonly #blobs: BlobStore;
  readonly #index: Pick<BlobIndex, "find">;

  constructor({ blobs, index }: { blobs: BlobStore; index: Pick<BlobIndex, "find"> }) {
    this.#blobs = blobs;
    this.#index = index;
  }

  /** Throws NotFound for what this tenant never sent itself, and OffsetBeyondEnd. */
  async *execute(tenant: string, sha256: string, offset: number, signal: AbortSignal): AsyncGenerator<Chunk> {
    requireDigest(sha256);
    if (!Number.isSafeInteger(offset) || offset < 0) {
      throw new InvalidRequest([{ field: "offset_bytes", description: "must be 0 or more" }]);
    }
    const record = await this.#index.find(tenant, sha256);
    if (record?.state !== "STORED")
      throw new NotFound("blob", sha256, "upload it first, or check the digest");
    let position = offset;
    for await (const chunk of this.#blobs.read(sha256, offset, signal)) {
      yield { offset: position, chunk };
      position += chunk.length;
    }
  }
}
