/** A thing that nothing named any more, or that had expired. */
export interface Removal {
  readonly time: Date;
  readonly kind: "SANDBOX" | "FILES" | "UPLOAD" | "BLOB" | "ARCHIVE" | "TASK";
  /** Id or digest; for uploads how many. */
  readonly name: string;
}

/** What this server found of an earlier one, and what it has tidied up since. */
export interface ReconcileReport {
  readonly startTime: Date;
  /** Tasks that waited in the queue. */
  readonly queuedTasks: number;
  /** Attempts that still ran, or had ended while no server watched. */
  readonly adoptedAttempts: number;
  /** Ended attempts whose sandbox was still there. */
  readonly releasedAttempts: number;
  /** When the record was last compared with what is on the host; null before the first time. */
  readonly lastPassTime: Date | null;
  readonly passCount: number;
  readonly removalCount: number;
  /** The latest. */
  readonly removals: readonly Removal[];
  /** What the last pass could not do; empty when all is well. */
  readonly problems: readonly string[];
}
