/** What a sandbox installed, unpacked on the server, read-only in every sandbox that has it. */
export interface StoredEnvironment {
  /** 64 hex digits: the hash of everything that goes into it. */
  readonly id: string;
  readonly sizeBytes: number;
  readonly fileCount: number;
  readonly useTime: Date;
}

/** Environments on the server's disk. A half-made one is never seen, also after a crash. */
export interface EnvironmentStore {
  /** Whole ones; an answer from memory. */
  list(): readonly StoredEnvironment[];
  has(id: string): boolean;
  /** Where its content lies on the server. */
  folder(id: string): string;
  /** Unpacks the tar that a build left. Throws BadArchive, Unavailable; on rejection nothing of it is left. */
  keep(id: string, tar: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<StoredEnvironment>;
  /** Notes that it is used now. */
  touch(id: string, time: Date): Promise<void>;
  /** Idempotent; from the call on it is not there any more. */
  remove(id: string): Promise<void>;
}
