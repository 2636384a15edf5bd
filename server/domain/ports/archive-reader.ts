import type { ArchiveLimits, ArchiveManifest, BlobFormat } from "../blob.ts";
import type { StoredItem } from "./blob-store.ts";

/** A check in progress. Exactly one of `finish` and the disposal without it ends it; both remove temporary files. */
export interface ArchiveCheck extends AsyncDisposable {
  /** Takes the next bytes of the upload, in order. Throws BadArchive as soon as a rule is broken. */
  write(chunk: Uint8Array): Promise<void>;
  /** The last byte was written; `path` is where the whole upload lies. Throws BadArchive. */
  finish(path: string, signal?: AbortSignal): Promise<CheckedArchive>;
}

/** An accepted archive, re-encoded: the only form that is ever unpacked. */
export interface CheckedArchive extends AsyncDisposable {
  readonly manifest: ArchiveManifest;
  /** Keeps the canonical tar and the list of paths under the digest of the upload, which must be durable before. */
  keep(sha256: string): Promise<void>;
}

/** A file on its way into a sandbox. */
export interface PackedFile {
  readonly path: string;
  readonly sizeBytes: number;
  /** Exactly `sizeBytes` bytes, once. */
  readonly content: AsyncIterable<Uint8Array>;
}

/** One parser, one truth: validates uploads and holds the canonical tars derived from them. */
export interface ArchiveReader {
  /** Raised whenever a rule changes, so that old verdicts are made anew. */
  readonly version: number;
  readonly limits: ArchiveLimits;
  /** The format that the first bytes (at least 512, or all there are) tell; RAW where they tell nothing. */
  detect(head: Uint8Array): BlobFormat;
  /**
   * `upload` names a file that has every byte written to the check when `finish` is called, and that nobody writes to from then
   * on: what is kept may be that very file under a second name.
   */
  begin(format: Exclude<BlobFormat, "RAW">, upload?: string): Promise<ArchiveCheck>;
  /** Whether a file of this path (or a folder, with `folder`) is in the kept archive. */
  has(sha256: string, path: string, kind: "file" | "folder"): Promise<boolean>;
  /** Content of one file of the kept archive, at most its first bytes; undefined where there is no such file. */
  readFile(sha256: string, path: string, mostBytes: number): Promise<Uint8Array | undefined>;
  /** Path of the canonical tar; undefined when it was collected and must be derived anew. */
  canonicalTar(sha256: string): Promise<string | undefined>;
  /** A canonical tar of files that nobody may write to, made while it is read. */
  pack(files: readonly PackedFile[]): AsyncIterable<Uint8Array>;
  remove(sha256: string): Promise<void>;
  /** What is kept, with the time when it was made; also removes what an earlier server left half-made. */
  list(): AsyncIterable<StoredItem>;
}

/** Reads the one tar a sandbox left behind; links, devices and paths outside are refused. */
export interface ArtifactReader {
  /** Calls `keep` for each file in order. Throws BadArchive; what was kept before stays kept. */
  read(
    tar: AsyncIterable<Uint8Array>,
    keep: (path: string, content: AsyncIterable<Uint8Array>, executable: boolean) => Promise<void>,
    signal?: AbortSignal,
  ): Promise<void>;
}
