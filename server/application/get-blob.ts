import type { BlobFormat } from "../domain/blob.ts";
import { InvalidRequest } from "../domain/errors.ts";
import type { ArchiveReader } from "../domain/ports/archive-reader.ts";
import type { BlobIndex, BlobStore } from "../domain/ports/blob-store.ts";
import { stageKey } from "./upload-blob.ts";

/** How much of a digest is here, for one tenant. */
export interface BlobStatus {
  readonly sha256: string;
  readonly state: "MISSING" | "PARTIAL" | "STORED" | "REFUSED";
  /** 0 where unknown. */
  readonly sizeBytes: number;
  readonly committedBytes: number;
  readonly format: BlobFormat | null;
  readonly refusal: string;
  /** When it is removed unless a task names it until then; null where nothing is stored. */
  readonly expireTime: Date | null;
}

export class GetBlob {
  readonly #blobs: BlobStore;
  readonly #index: BlobIndex;
  readonly #archives: Pick<ArchiveReader, "version">;

  readonly #unusedMillis: number;

  /** `unusedMillis`: how long a blob stays that no task names. */
  constructor(deps: {
    blobs: BlobStore;
    index: BlobIndex;
    archives: Pick<ArchiveReader, "version">;
    unusedMillis: number;
  }) {
    this.#unusedMillis = deps.unusedMillis;
    this.#blobs = deps.blobs;
    this.#index = deps.index;
    this.#archives = deps.archives;
  }

  async execute(tenant: string, sha256: string): Promise<BlobStatus> {
    requireDigest(sha256);
    const record = await this.#index.find(tenant, sha256);
    const nothing = { sha256, sizeBytes: 0, committedBytes: 0, format: null, refusal: "", expireTime: null };
    if (record?.state === "STORED") {
      const sizeBytes = await this.#blobs.size(sha256);
      if (sizeBytes !== undefined) {
        const expireTime = new Date(record.useTime.getTime() + this.#unusedMillis);
        const { format } = record;
        return { ...nothing, state: "STORED", sizeBytes, committedBytes: sizeBytes, format, expireTime };
      }
    }
    // A refusal by older rules is no answer any more: the next upload is judged anew.
    if (record?.state === "REFUSED" && record.validatorVersion === this.#archives.version) {
      const { sizeBytes, format, refusal } = record;
      return { ...nothing, state: "REFUSED", sizeBytes, format, refusal };
    }
    const committedBytes = await this.#blobs.stagedBytes(stageKey(tenant, sha256));
    return { ...nothing, state: committedBytes > 0 ? "PARTIAL" : "MISSING", committedBytes };
  }
}

export function requireDigest(sha256: string): void {
  if (/^[0-9a-f]{64}$/.test(sha256)) return;
  throw new InvalidRequest([{ field: "sha256", description: "must be 64 lower-case hex digits" }]);
}
