import { QuotaExceeded } from "../domain/errors.ts";
import type { BlobIndex } from "../domain/ports/blob-store.ts";
import type { Quotas } from "../domain/quota.ts";
import { formatSize } from "../domain/resources.ts";

/** What an upload may take of its tenant's quota, until it is disposed of: by then it is stored, or came to nothing. */
export interface StorageRoom extends Disposable {
  /** Throws QuotaExceeded where so many bytes are more than was left when the upload began. */
  require(bytes: number): void;
}

const UNLIMITED: StorageRoom = { require: () => undefined, [Symbol.dispose]: () => undefined };

/** Keeps uploads within what their tenant may store: blobs, artifacts, and the announced sizes of what is on its way. */
export class StoredBytes {
  readonly #quotas: Quotas;
  readonly #index: BlobIndex;
  readonly #underWay = new Map<string, number>();

  constructor(deps: { quotas: Quotas; index: BlobIndex }) {
    this.#quotas = deps.quotas;
    this.#index = deps.index;
  }

  /** `announced` 0: not known. Throws QuotaExceeded where it does not fit. */
  async take(tenant: string, announced: number): Promise<StorageRoom> {
    const allowed = this.#quotas.of(tenant).storedBytes;
    if (allowed === null) return UNLIMITED;
    // Counted before the look, so that of two uploads at once one sees the other.
    const underWay = this.#underWay.get(tenant) ?? 0;
    this.#underWay.set(tenant, underWay + announced);
    const release = () => {
      const left = (this.#underWay.get(tenant) ?? 0) - announced;
      if (left === 0) this.#underWay.delete(tenant);
      else this.#underWay.set(tenant, left);
    };
    try {
      const used = (await this.#index.storedBytes(tenant)) + underWay;
      const require = (bytes: number) => {
        if (used + bytes > allowed) throw exceeded(tenant, bytes, used, allowed);
      };
      require(announced === 0 ? 1 : announced);
      return { require, [Symbol.dispose]: release };
    } catch (error) {
      release();
      throw error;
    }
  }
}

function exceeded(tenant: string, bytes: number, used: number, allowed: number): QuotaExceeded {
  return new QuotaExceeded(
    "stored_bytes",
    `${formatSize(bytes)} more do not fit: tenant ${tenant} stores ${formatSize(used)} of ${formatSize(allowed)}; delete tasks whose artifacts nobody needs, or wait until unused blobs expire`,
    { used: String(used), allowed: String(allowed) },
  );
}
