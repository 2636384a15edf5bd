import { setTimeout as delay } from "node:timers/promises";
import type { BlobFormat, BlobRecord } from "../domain/blob.ts";
import {
  BadArchive,
  DigestMismatch,
  type FieldViolation,
  InvalidRequest,
  NotFound,
  QuotaExceeded,
  Unavailable,
  Unsupported,
} from "../domain/errors.ts";
import type { ArchiveReader } from "../domain/ports/archive-reader.ts";
import type { Arrival, BlobAddresses } from "../domain/ports/blob-addresses.ts";
import type { BlobIndex, BlobStore } from "../domain/ports/blob-store.ts";
import type { Log } from "../domain/ports/telemetry.ts";
import { formatRefusal, parseRefusal } from "../domain/refusal.ts";
import type { DownloadUrl, DownloadUrlRequest, UploadUrl, UploadUrlRequest } from "./api.ts";
import { CheckArrival } from "./check-arrival.ts";
import { requireDigest } from "./require-digest.ts";
import type { StoredBytes } from "./stored-bytes.ts";

/** Longest that a question waits for a check; small uploads are through by then, and for large ones it is asked again. */
const PATIENCE_MILLIS = 3_000;
const COLLECT_MILLIS = 3_600_000;

export interface PresignedBlobsDeps {
  readonly blobs: BlobStore;
  readonly index: BlobIndex;
  readonly archives: ArchiveReader;
  /** Absent where the store has none. */
  readonly addresses:
    | { readonly of: BlobAddresses; readonly lifetimeMillis: number; readonly maxLifetimeMillis: number }
    | undefined;
  readonly maxUploadBytes: number;
  readonly storedBytes: StoredBytes;
  readonly log: Log;
  readonly clock: () => Date;
}

/** What has become of what a client sent to an address by itself. */
export type Settled =
  | { readonly state: "NOTHING" | "STORED" }
  | { readonly state: "CHECKING"; readonly sizeBytes: number; readonly format: BlobFormat | null }
  | { readonly state: "REFUSED"; readonly refusal: string };

/** Addresses for clients that reach the store themselves, and the check of what they sent there, before anything uses it. */
export class PresignedBlobs {
  readonly #deps: PresignedBlobsDeps;
  readonly #check: CheckArrival;
  /** By tenant and digest. */
  readonly #checks = new Map<string, Promise<Settled>>();
  readonly #closing = new AbortController();
  #collectTime = Number.NEGATIVE_INFINITY;

  constructor(deps: PresignedBlobsDeps) {
    this.#deps = deps;
    this.#check = new CheckArrival(deps);
  }

  async createUploadUrl(tenant: string, request: UploadUrlRequest): Promise<UploadUrl> {
    const addresses = this.#addresses(request, "UploadBlob");
    const { sha256, sizeBytes, format } = request;
    const most = Math.min(this.#deps.maxUploadBytes, addresses.maxUploadBytes);
    const violations = [...request.violations];
    const expireTime = this.#expiry(request.lifetimeMillis, violations);
    if (sizeBytes > most) {
      const description = `is ${sizeBytes}; at most ${most} bytes can be sent to an address, so use UploadBlob`;
      violations.push({ field: "size_bytes", description });
    }
    if (violations.length > 0) throw new InvalidRequest(violations);
    const record = await this.#deps.index.find(tenant, sha256);
    if (this.#isRefused(record, format)) throw parseRefusal(record.refusal);
    // Only looked at: what is sent to an address counts when it has come.
    if (record === undefined) (await this.#deps.storedBytes.take(tenant, sizeBytes))[Symbol.dispose]();
    const ticket = { tenant, sha256, sizeBytes, format, expireTime };
    return { ...(await addresses.createUpload(ticket)), expireTime };
  }

  async createDownloadUrl(tenant: string, request: DownloadUrlRequest): Promise<DownloadUrl> {
    const addresses = this.#addresses(request, "DownloadBlob");
    const violations = [...request.violations];
    const expireTime = this.#expiry(request.lifetimeMillis, violations);
    if (violations.length > 0) throw new InvalidRequest(violations);
    const { sha256 } = request;
    const record = await this.find(tenant, sha256);
    if (record?.state !== "STORED" || (await this.#deps.blobs.size(sha256)) === undefined)
      throw new NotFound("blob", sha256, "upload it first, or check the digest");
    return { url: await addresses.createDownload(sha256, expireTime), expireTime };
  }

  /** As the index, after what came to an address was checked. Throws Unavailable while that takes long. */
  async find(tenant: string, sha256: string): Promise<BlobRecord | undefined> {
    const record = await this.#deps.index.find(tenant, sha256);
    if (record !== undefined || this.#deps.addresses === undefined) return record;
    const settled = await this.settle(tenant, sha256);
    if (settled.state === "CHECKING") {
      throw new Unavailable(
        `blob ${sha256} has come and is being checked; try again in a moment, or ask GetBlob`,
        PATIENCE_MILLIS,
      );
    }
    return settled.state === "STORED" ? await this.#deps.index.find(tenant, sha256) : undefined;
  }

  touch(tenant: string, sha256: string, time: Date): Promise<boolean> {
    return this.#deps.index.touch(tenant, sha256, time);
  }

  /** Checks what came for a digest, or waits for the check under way, but not for long. */
  async settle(tenant: string, sha256: string): Promise<Settled> {
    const { addresses } = this.#deps;
    if (addresses === undefined) return { state: "NOTHING" };
    requireDigest(sha256);
    const key = `${sha256} ${tenant}`;
    const running = this.#checks.get(key);
    if (running !== undefined) return await this.#patiently(running, { sizeBytes: 0, format: null });
    const arrivals = await addresses.of.arrivals(tenant, sha256);
    const arrival = arrivals.find(({ refusal }) => refusal === "");
    if (arrival === undefined) {
      const refused = arrivals[0];
      return refused === undefined ? { state: "NOTHING" } : { state: "REFUSED", refusal: refused.refusal };
    }
    const check = this.#checks.get(key) ?? this.#begin(key, arrival);
    const { sizeBytes, format } = arrival.ticket;
    return await this.#patiently(check, { sizeBytes, format });
  }

  /** Removes what nobody asked for in time; at most once an hour. */
  async collect(): Promise<number> {
    const { addresses, clock } = this.#deps;
    const now = clock();
    if (addresses === undefined || now.getTime() - this.#collectTime < COLLECT_MILLIS) return 0;
    const removed = await addresses.of.removeExpired(now);
    this.#collectTime = now.getTime();
    return removed;
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await Promise.allSettled(this.#checks.values());
  }

  #begin(key: string, arrival: Arrival): Promise<Settled> {
    const check = this.#settle(arrival).finally(() => this.#checks.delete(key));
    // Whoever waits is told; when nobody does any more, the next question meets the same.
    check.catch((error: unknown) => {
      if (!this.#closing.signal.aborted)
        this.#deps.log.warn("an upload to an address could not be checked", { error: String(error) });
    });
    this.#checks.set(key, check);
    return check;
  }

  async #settle(arrival: Arrival): Promise<Settled> {
    const { tenant, sha256, sizeBytes, format } = arrival.ticket;
    const { archives, index, clock } = this.#deps;
    const time = clock();
    const about = {
      tenant,
      sha256,
      sizeBytes,
      validatorVersion: archives.version,
      createTime: time,
      useTime: time,
    };
    try {
      // Any number of addresses may have been made for the same room.
      using _room = await this.#deps.storedBytes.take(tenant, arrival.sizeBytes);
      const taken = await this.#check.take(arrival, this.#closing.signal);
      if (taken === undefined) return { state: "NOTHING" };
      await index.put({ ...about, ...taken, state: "STORED", refusal: "" });
      await arrival.remove();
      return { state: "STORED" };
    } catch (error) {
      if (error instanceof DigestMismatch || error instanceof QuotaExceeded) {
        await arrival.refuse(error.message);
        return { state: "REFUSED", refusal: error.message };
      }
      if (!(error instanceof BadArchive)) throw error;
      // These bytes do have the digest: they are refused however they come.
      const refusal = formatRefusal(error);
      await index.put({ ...about, format: format ?? "RAW", state: "REFUSED", refusal, manifest: null });
      await arrival.remove();
      return { state: "REFUSED", refusal };
    }
  }

  async #patiently(
    check: Promise<Settled>,
    about: { readonly sizeBytes: number; readonly format: BlobFormat | null },
  ): Promise<Settled> {
    const over = new AbortController();
    const late = delay(PATIENCE_MILLIS, undefined, { signal: over.signal }).then(
      (): Settled => ({ state: "CHECKING", ...about }),
    );
    // Cut short where the check is over first.
    late.catch(() => undefined);
    try {
      return await Promise.race([check, late]);
    } finally {
      over.abort();
    }
  }

  #isRefused(record: BlobRecord | undefined, format: BlobFormat | null): record is BlobRecord {
    return (
      record?.state === "REFUSED" &&
      record.validatorVersion === this.#deps.archives.version &&
      (format === null || format === record.format)
    );
  }

  #addresses({ violations }: DownloadUrlRequest, instead: string): BlobAddresses {
    const { addresses } = this.#deps;
    if (addresses !== undefined) return addresses.of;
    if (violations.length > 0) throw new InvalidRequest(violations);
    throw new Unsupported(`this server keeps blobs in files, which have no address; use ${instead}`);
  }

  #expiry(asked: number | null, violations: FieldViolation[]): Date {
    const { lifetimeMillis = 0, maxLifetimeMillis = 0 } = this.#deps.addresses ?? {};
    const millis = Math.max(1000, asked ?? lifetimeMillis);
    if (millis > maxLifetimeMillis) {
      const description = `is ${millis / 1000} s; an address lives at most ${maxLifetimeMillis / 1000} s here`;
      violations.push({ field: "lifetime", description });
    }
    return new Date(this.#deps.clock().getTime() + millis);
  }
}
