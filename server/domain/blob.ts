/** How bytes are read. Anything but RAW is an archive, checked before it counts as stored. */
export type BlobFormat = "RAW" | "TAR" | "TAR_GZ" | "ZIP";

/** What is known of a digest for one tenant. Knowing a digest proves nothing: a tenant sees only what it sent itself. */
export interface BlobRecord {
  readonly tenant: string;
  /** Lower-case hex digest of the bytes as uploaded. */
  readonly sha256: string;
  readonly sizeBytes: number;
  readonly format: BlobFormat;
  readonly state: "STORED" | "REFUSED";
  /** For REFUSED: which rule was broken by which entry, and by which version of the validator. */
  readonly refusal: string;
  readonly validatorVersion: number;
  readonly createTime: Date;
  /** When it was last sent or named by a new task. */
  readonly useTime: Date;
  /** What the archive holds; null for RAW and REFUSED. */
  readonly manifest: ArchiveManifest | null;
}

/** What the server knows of an accepted archive without ever unpacking it. */
export interface ArchiveManifest {
  readonly fileCount: number;
  readonly folderCount: number;
  /** Sum of the files' sizes. */
  readonly contentBytes: number;
  /** Length of the canonical tar. */
  readonly tarBytes: number;
  /** Names of the .py files at the top, sorted. */
  readonly topLevelScripts: readonly string[];
  /** A requirements.txt lies at the top. */
  readonly hasRequirements: boolean;
}

/** Caps on what an archive may hold; all configurable. */
export interface ArchiveLimits {
  /** Files and folders, counting folders that only paths imply. */
  readonly maxEntries: number;
  /** Sum of the files' sizes after unpacking. */
  readonly maxContentBytes: number;
  /** Content bytes per uploaded byte, for gzip and zip. */
  readonly maxRatio: number;
  /** Content up to this size is never refused for its ratio: small and well-compressed is not a bomb. */
  readonly ratioGraceBytes: number;
  /** One entry's header bytes: PAX records, long names, zip extra fields and comments. */
  readonly maxHeaderBytes: number;
  readonly maxPathBytes: number;
  /** Sum of all paths, which are held in memory while an archive is checked. */
  readonly maxAllPathsBytes: number;
  /** Names in one path. */
  readonly maxDepth: number;
}

export const DEFAULT_ARCHIVE_LIMITS: ArchiveLimits = {
  maxEntries: 100_000,
  maxContentBytes: 8 * 2 ** 30,
  maxRatio: 200,
  ratioGraceBytes: 64 * 2 ** 20,
  maxHeaderBytes: 256 * 2 ** 10,
  maxPathBytes: 1024,
  maxAllPathsBytes: 8 * 2 ** 20,
  maxDepth: 64,
};
