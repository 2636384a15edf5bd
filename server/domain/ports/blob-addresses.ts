import type { BlobFormat } from "../blob.ts";

/** What an address was made for. */
export interface UploadTicket {
  readonly tenant: string;
  readonly sha256: string;
  readonly sizeBytes: number;
  /** Null: told by the first bytes. */
  readonly format: BlobFormat | null;
  readonly expireTime: Date;
}

/** Where a client sends to by itself, and the headers it must send along. */
export interface UploadAddress {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
}

/** What came under a ticket. */
export interface Arrival {
  readonly ticket: UploadTicket;
  /** How much came, whatever the ticket says. */
  readonly sizeBytes: number;
  readonly time: Date;
  /** Why it was not taken; empty while that is not decided. */
  readonly refusal: string;
  /** Takes it from where its client could still exchange it; undefined when it is gone, or was exchanged just now. */
  seal(): Promise<SealedArrival | undefined>;
  /** Removes the bytes and keeps the reason, until some time after the ticket has expired. */
  refuse(reason: string): Promise<void>;
  remove(): Promise<void>;
}

/** Bytes that no client can reach; disposal removes them. */
export interface SealedArrival extends AsyncDisposable {
  read(signal: AbortSignal): AsyncIterable<Uint8Array>;
  /** Makes them the blob of this digest, which the caller has verified. */
  accept(sha256: string): Promise<void>;
}

/** Addresses by which clients reach the store of blobs themselves. What they send counts for nothing until it is checked. */
export interface BlobAddresses {
  /** The most that one PUT may bring. */
  readonly maxUploadBytes: number;
  /** For one PUT, which the store refuses for other bytes where it can. Forgets earlier refusals of the same digest. */
  createUpload(ticket: UploadTicket): Promise<UploadAddress>;
  /** For GET of a stored blob. */
  createDownload(sha256: string, expireTime: Date): Promise<string>;
  /** What came for a digest from this tenant, the latest first. */
  arrivals(tenant: string, sha256: string): Promise<Arrival[]>;
  /** Removes what nobody asked for until well after its ticket expired; answers how many. */
  removeExpired(now: Date): Promise<number>;
}
