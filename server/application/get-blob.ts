import type { BlobFormat, BlobRecord } from "../domain/blob.ts";
import type { ArchiveReader } from "../domain/ports/archive-reader.ts";
import type { BlobIndex, BlobStore } from "../domain/ports/blob-store.ts";
import type { PresignedBlobs } from "./presigned-blobs.ts";
import { requireDigest } from "./require-digest.ts";
import { stageKey } from "./upload-blob.ts";

/** How much of a digest is here, for one tenant. */
export interface BlobStatus {
  readonly sha256: string;
  /** CHECKING: a client sent it to an address by itself, and it is not known yet whether it is what was announced. */
  readonly state: "MISSING" | "PARTIAL" | "CHECKING" | "STORED" | "REFUSED";
  /** 0 where unknown. */
  readonly sizeBytes: number;
  readonly committedBytes: number;
  readonly format: BlobFormat | null;
  /** Of REFUSED; of MISSING and PARTIAL why what last came to an address was not taken. */
  readonly refusal: string;
  /** When it is removed unless a task names it until then; null where nothing is stored. */
  readonly expireTime: Date | null;
}

export class GetBlob {
  readonly #blobs: BlobStore;
  readonly #index: BlobIndex;
  readonly #archives: Pick<ArchiveReader, "version">;

  readonly #presigned: Pick<PresignedBlobs, "settle">;
  readonly #unusedMillis: number;

  /** `unusedMillis`: how long a blob stays that no task names. */
  constructor(deps: {
    blobs: BlobStore;
    index: BlobIndex;
    archives: Pick<ArchiveReader, "version">;
    presigned: Pick<PresignedBlobs, "settle">;
    unusedMillis: number;
  }) {
    this.#unusedMillis = deps.unusedMillis;
    this.#blobs = deps.blobs;
    this.#index = deps.index;
    this.#archives = deps.archives;
    this.#presigned = deps.presigned;
  }

  async execute(tenant: string, sha256: string): Promise<BlobStatus> {
    requireDigest(sha256);
    const record = await this.#index.find(tenant, sha256);
    const known = await this.#known(sha256, record);
    if (known !== undefined) return known;
    const arrived = await this.#presigned.settle(tenant, sha256);
    if (arrived.state === "CHECKING") {
      const { sizeBytes, format } = arrived;
      return { ...nothingOf(sha256), state: "CHECKING", sizeBytes, committedBytes: sizeBytes, format };
    }
    if (arrived.state !== "NOTHING") {
      const judged = await this.#known(sha256, await this.#index.find(tenant, sha256));
      if (judged !== undefined) return judged;
    }
    const committedBytes = await this.#blobs.stagedBytes(stageKey(tenant, sha256));
    // Not REFUSED: what came to one address was not these bytes, which may still be sent.
    const refusal = arrived.state === "REFUSED" ? arrived.refusal : "";
    return {
      ...nothingOf(sha256),
      state: committedBytes > 0 ? "PARTIAL" : "MISSING",
      committedBytes,
      refusal,
    };
  }

  async #known(sha256: string, record: BlobRecord | undefined): Promise<BlobStatus | undefined> {
    if (record?.state === "STORED") {
      const sizeBytes = await this.#blobs.size(sha256);
      if (sizeBytes === undefined) return undefined;
      const expireTime = new Date(record.useTime.getTime() + this.#unusedMillis);
      const { format } = record;
      return {
        ...nothingOf(sha256),
        state: "STORED",
        sizeBytes,
        committedBytes: sizeBytes,
        format,
        expireTime,
      };
    }
    // A refusal by older rules is no answer any more: the next upload is judged anew.
    if (record?.state !== "REFUSED" || record.validatorVersion !== this.#archives.version) return undefined;
    const { sizeBytes, format, refusal } = record;
    return { ...nothingOf(sha256), state: "REFUSED", sizeBytes, format, refusal };
  }
}

function nothingOf(sha256: string): Omit<BlobStatus, "state"> {
  return { sha256, sizeBytes: 0, committedBytes: 0, format: null, refusal: "", expireTime: null };
}
