import type { AuditEvent } from "../audit.ts";
import type { TaskOutcome } from "../dependency.ts";
import type { Artifact, ResultReason, Task, TaskState } from "../task.ts";
import type { TaskRecord } from "../task-record.ts";

/** All conditions must hold; empty lists and nulls do not restrict. */
export interface TaskQuery {
  readonly tenant: string;
  readonly owner: string;
  readonly states: readonly TaskState[];
  readonly reasons: readonly ResultReason[];
  readonly labels: Readonly<Record<string, string>>;
  readonly createdAfter: Date | null;
  readonly createdBefore: Date | null;
  readonly limit: number;
  /** Tasks older than this id only (newest first); empty begins at the newest. */
  readonly afterId: string;
}

export interface TaskPage {
  readonly records: readonly TaskRecord[];
  /** Where the next page begins, as its `afterId`; empty at the end. */
  readonly nextAfterId: string;
}

/** Thrown by `insert`: another task of the tenant has this request id. */
export class RequestIdTaken extends Error {
  readonly taskId: string;

  constructor(taskId: string) {
    super(`request id belongs to task ${taskId}`);
    this.name = "RequestIdTaken";
    this.taskId = taskId;
  }
}

/** Thrown by `save`: the task that is to answer this one was removed meanwhile. */
export class SourceGone extends Error {
  constructor(id: string) {
    super(`task ${id}, whose result was to be used, was removed`);
    this.name = "SourceGone";
  }
}

/** Thrown by `save`: the record is no longer at the version that the change was made from. */
export class StaleTask extends Error {
  constructor(id: string, version: number) {
    super(`task ${id} is no longer at version ${version}`);
    this.name = "StaleTask";
  }
}

/**
 * The durable record. Every promise settles after the commit. `save` writes the row, the attempts and stages that differ from
 * `previous`, the ledger entries of attempts that
 * ended (ledger.ts), and one event row when the state changed, in one transaction; many calls of one event-loop turn may share a commit.
 * A record that cannot be read harms no other: where Task is answered it is left out, or thrown as RecordDamaged where it was asked for.
 */
export interface TaskStore {
  /** Throws RequestIdTaken. Who did it goes into the audit log in the same transaction, here and below. */
  insert(task: Task, event?: AuditEvent): Promise<void>;
  /**
   * `next.version` is `previous.version + 1`. A change that sets `cachedFrom` gives the task that one's artifacts.
   * Throws StaleTask, SourceGone.
   */
  save(next: Task, previous: Task, event?: AuditEvent): Promise<void>;
  get(id: string): Promise<TaskRecord | undefined>;
  /** Throws RecordDamaged. */
  findByRequestId(tenant: string, requestId: string): Promise<Task | undefined>;
  /** Newest first; fewer than `limit` where they are large, but at least one. */
  list(query: TaskQuery): Promise<TaskPage>;
  /** Everything that still needs work, oldest first: not terminal, or with an attempt that is not released. */
  unfinished(): Promise<Task[]>;
  /** The tasks that ended last, latest first, at most `limit`. */
  lastEnded(limit: number): Promise<Task[]>;
  /** Where these tasks stand, by id; unknown ones are left out, and one whose state cannot be read has failed. */
  outcomes(ids: readonly string[]): Promise<Map<string, TaskOutcome>>;
  /** Milliseconds that the last tasks of this program took that succeeded, latest first, at most `limit`. */
  lastRuns(tenant: string, programDigest: string, limit: number): Promise<number[]>;
  /** Tasks with this cache key that ran themselves and succeeded, newest first, at most `limit`. */
  cacheSources(tenant: string, cacheKey: string, limit: number): Promise<Task[]>;
  /** Which of these sandboxes any task's attempt names, or a task whose output lies there. */
  knownSandboxes(ids: readonly string[]): Promise<Set<string>>;
  /** Removes the record with its attempts, stages, events and artifact rows; false when there was none. */
  remove(id: string, event?: AuditEvent): Promise<boolean>;
  /** Tasks whose expire time lies before `time`, oldest first, at most `limit`. */
  expired(time: Date, limit: number): Promise<TaskRecord[]>;
}

/** Which files a task left behind; the bytes are blobs. */
export interface ArtifactStore {
  /** Replaces what is there for the task. */
  replace(taskId: string, tenant: string, artifacts: readonly Artifact[]): Promise<void>;
  /** By path, after `afterPath`, at most `limit`. */
  list(taskId: string, afterPath: string, limit: number): Promise<Artifact[]>;
  find(taskId: string, path: string): Promise<Artifact | undefined>;
}
