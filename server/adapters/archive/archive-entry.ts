/** One file or folder as an archive's own reader found it: its name not yet checked, its content read once, in order. */
export interface ArchiveEntry {
  /** As it stands in the archive, decoded strictly. */
  readonly name: string;
  readonly kind: "file" | "folder";
  /** 0 for folders; for files exactly what `content` yields. */
  readonly size: number;
  readonly executable: boolean;
  /** Whole seconds since 1970; 0 where unknown or out of range. */
  readonly mtimeSeconds: number;
  readonly content: AsyncIterable<Uint8Array>;
}

/** Largest time that the octal field of a tar header holds. */
const MAX_MTIME = 0o77777777777;

export function saneMtime(seconds: number): number {
  const whole = Math.floor(seconds);
  return whole >= 0 && whole <= MAX_MTIME ? whole : 0;
}
