import { createHash, randomUUID } from "node:crypto";
import type { BlobFormat } from "../../domain/blob.ts";
import type {
  Arrival,
  BlobAddresses,
  SealedArrival,
  UploadAddress,
  UploadTicket,
} from "../../domain/ports/blob-addresses.ts";
import { blobKey, type S3BlobStore } from "./s3-blob-store.ts";
import type { S3Bucket } from "./s3-bucket.ts";

/** One PUT, and one copy within the store, take no more. */
const MOST_BYTES = 5 * 2 ** 30;
const INCOMING = "incoming/";
const SEALED = "sealed/";
const REFUSED = ".refused";
/** A check may still be reading, and a client may still ask what became of its bytes. */
const GRACE_MILLIS = 2 * 3_600_000;
/** tenant / digest / expiry - size - format - nonce, and whether it is the note of a refusal. */
const KEY = /^incoming\/[0-9a-f]{32}\/([0-9a-f]{64})\/(\d+)-(\d+)-([A-Z_]+)-[0-9a-f-]{36}(\.refused)?$/;
const FORMATS: readonly string[] = ["RAW", "TAR", "TAR_GZ", "ZIP"] satisfies BlobFormat[];
const UNTOLD = "UNTOLD";

/**
 * Uploads that clients PUT into the bucket themselves, below `incoming/`. Each ticket is its object's key, so that nothing has to
 * be remembered of addresses that nobody ever uses.
 */
export class S3Addresses implements BlobAddresses {
  readonly maxUploadBytes = MOST_BYTES;
  readonly #bucket: S3Bucket;
  readonly #store: S3BlobStore;

  constructor({ bucket, store }: { bucket: S3Bucket; store: S3BlobStore }) {
    this.#bucket = bucket;
    this.#store = store;
  }

  async createUpload(ticket: UploadTicket): Promise<UploadAddress> {
    for await (const { key } of this.#bucket.list(folderOf(ticket.tenant, ticket.sha256)))
      if (key.endsWith(REFUSED)) await this.#bucket.remove(key);
    return await this.#bucket.signPut(keyOf(ticket), ticket, ticket.expireTime.getTime() - Date.now());
  }

  createDownload(sha256: string, expireTime: Date): Promise<string> {
    return this.#bucket.signGet(blobKey(sha256), expireTime.getTime() - Date.now());
  }

  async arrivals(tenant: string, sha256: string): Promise<Arrival[]> {
    const found: Arrival[] = [];
    for await (const { key, sizeBytes, time } of this.#bucket.list(folderOf(tenant, sha256))) {
      const ticket = ticketOf(key, tenant);
      if (ticket === undefined) continue;
      const refusal = key.endsWith(REFUSED) ? await this.#text(key) : "";
      found.push(this.#arrival(key, { ticket, sizeBytes, time, refusal }));
    }
    return found.sort((a, b) => b.time.getTime() - a.time.getTime());
  }

  async removeExpired(now: Date): Promise<number> {
    const before = now.getTime() - GRACE_MILLIS;
    let removed = 0;
    for (const folder of [INCOMING, SEALED]) {
      for await (const { key, time } of this.#bucket.list(folder)) {
        const end = folder === INCOMING ? ticketOf(key, "")?.expireTime : undefined;
        if ((end ?? time).getTime() >= before) continue;
        await this.#bucket.remove(key);
        removed++;
      }
    }
    return removed;
  }

  #arrival(key: string, facts: Pick<Arrival, "ticket" | "sizeBytes" | "time" | "refusal">): Arrival {
    return {
      ...facts,
      seal: () => this.#seal(key),
      refuse: async (reason) => {
        await this.#bucket.putText(`${key}${REFUSED}`, reason);
        await this.#bucket.remove(key);
      },
      remove: () => this.#bucket.remove(key),
    };
  }

  /** By a copy within the store: its client may PUT to the address again, but knows of no other. */
  async #seal(key: string): Promise<SealedArrival | undefined> {
    const bucket = this.#bucket;
    const store = this.#store;
    const sealed = `${SEALED}${randomUUID()}`;
    const arrived = await bucket.head(key);
    if (arrived === undefined || !(await bucket.copy(key, arrived.etag, sealed))) return undefined;
    return {
      read: (signal) => bucket.read(sealed, 0, signal),
      accept: (sha256) => store.takeOver(sealed, sha256),
      [Symbol.asyncDispose]: () => bucket.remove(sealed),
    };
  }

  async #text(key: string): Promise<string> {
    const chunks = await Array.fromAsync(this.#bucket.read(key, 0));
    return Buffer.concat(chunks).toString();
  }
}

/** Neither a tenant's name nor anything else that a client chose is in a key. */
function folderOf(tenant: string, sha256: string): string {
  const name = createHash("sha256").update(tenant).digest("hex").slice(0, 32);
  return `${INCOMING}${name}/${sha256}/`;
}

function keyOf({ tenant, sha256, sizeBytes, format, expireTime }: UploadTicket): string {
  const facts = `${expireTime.getTime()}-${sizeBytes}-${format ?? UNTOLD}-${randomUUID()}`;
  return `${folderOf(tenant, sha256)}${facts}`;
}

function ticketOf(key: string, tenant: string): UploadTicket | undefined {
  const [, sha256, expireMillis, sizeBytes, format] = KEY.exec(key) ?? [];
  if (sha256 === undefined || format === undefined) return undefined;
  return {
    tenant,
    sha256,
    sizeBytes: Number(sizeBytes),
    format: isFormat(format) ? format : null,
    expireTime: new Date(Number(expireMillis)),
  };
}

function isFormat(text: string): text is BlobFormat {
  return FORMATS.includes(text);
}
