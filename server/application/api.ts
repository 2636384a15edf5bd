import type { ProjectAnnouncement } from "#server/domain/announced-project.ts";
import type { BlobFormat } from "#server/domain/blob.ts";
import type { Capabilities, Capacity } from "#server/domain/capabilities.ts";
import type { Charge, Money } from "#server/domain/charge.ts";
import type { LedgerEntry, UsageSum } from "#server/domain/ledger.ts";
import type { TaskLimits } from "#server/domain/limits.ts";
import type { Grouping, UsageGroup } from "#server/domain/ports/usage-ledger.ts";
import type { ReconcileReport } from "#server/domain/reconcile-report.ts";
import type { ResourceRequest } from "#server/domain/resources.ts";
import type { Artifact, ResultReason, Task, TaskSpec, TaskState } from "#server/domain/task.ts";
import type { TaskEvent } from "#server/domain/task-event.ts";
import type { TaskRecord } from "#server/domain/task-record.ts";
import type { Caller, Checked } from "./caller.ts";
import type { Webhooks } from "./webhooks-api.ts";

/** What a task would hold and cost, at the prices of now. Amounts are null where nothing has a price. */
export interface Estimate {
  readonly limits: TaskLimits;
  readonly longestMillis: number;
  readonly most: Charge | null;
  /** Null when nobody knows how long it runs. */
  readonly expectedMillis: number | null;
  readonly expected: Money | null;
}

export interface TaskRequest extends Checked {
  readonly spec: TaskSpec;
  /** Values of secret_env as they came; sealed before anything is stored. */
  readonly secrets: Readonly<Record<string, string>>;
}

export interface RerunRequest extends Checked {
  /** Never empty. */
  readonly id: string;
  readonly requestId: string;
  /** Set fields replace those of the old task. */
  readonly resources: ResourceRequest | null;
  readonly timeoutMillis: number | null;
}

export interface ListRequest extends Checked {
  readonly owner: string;
  readonly states: readonly TaskState[];
  readonly reasons: readonly ResultReason[];
  readonly labels: Readonly<Record<string, string>>;
  readonly createdAfter: Date | null;
  readonly createdBefore: Date | null;
  /** From 1 to 1000. */
  readonly pageSize: number;
  /** Empty for the first page. */
  readonly pageToken: string;
  /** Asked of each task in turn: whether the answer has room for it, too. The first is in it in any case. */
  readonly fits: (task: TaskRecord) => boolean;
}

export interface ArtifactsRequest extends Checked {
  /** Never empty. */
  readonly taskId: string;
  /** From 1 to 1000. */
  readonly pageSize: number;
  readonly pageToken: string;
}

export interface WatchRequest {
  readonly id: string;
  /** Empty means from the beginning. */
  readonly cursor: string;
  /** False ends after what is there now. */
  readonly follow: boolean;
  /** Without a cursor: the last so many bytes of each stream; 0 means all. */
  readonly tailBytes: number;
  /** False sends no output. */
  readonly logs: boolean;
}

export interface TasksRequest {
  /** All of them. */
  readonly labels: Readonly<Record<string, string>>;
  /** From 1 to 200. */
  readonly maxTasks: number;
}

/** The whole picture at one moment. */
export interface TasksUnderWay {
  /** Those that were started, oldest first, then the queue in its order. */
  readonly tasks: readonly Task[];
  readonly totalCount: number;
}

/** First part of an upload. */
export interface UploadHeader {
  /** Lower-case hex digest; empty in SubmitTask where the client does not know it, then nothing resumes. */
  readonly sha256: string;
  /** 0 means unknown. */
  readonly sizeBytes: number;
  readonly offsetBytes: number;
  /** Null: told by the first bytes. */
  readonly format: BlobFormat | null;
}

/** How much of a digest is here, for the caller's tenant. */
export interface BlobStatus {
  readonly sha256: string;
  readonly state: "MISSING" | "PARTIAL" | "CHECKING" | "STORED" | "REFUSED";
  /** 0 where unknown. */
  readonly sizeBytes: number;
  readonly committedBytes: number;
  readonly format: BlobFormat | null;
  readonly refusal: string;
  readonly expireTime: Date | null;
}

export interface DownloadUrlRequest extends Checked {
  readonly sha256: string;
  /** Null takes the server's default. */
  readonly lifetimeMillis: number | null;
}

export interface UploadUrlRequest extends DownloadUrlRequest {
  readonly sizeBytes: number;
  /** Null: told by the first bytes. */
  readonly format: BlobFormat | null;
}

/** Where a client reaches the store of blobs by itself. */
export interface DownloadUrl {
  readonly url: string;
  readonly expireTime: Date;
}

export interface UploadUrl extends DownloadUrl {
  /** To be sent along, or the store refuses the bytes. */
  readonly headers: Readonly<Record<string, string>>;
}

/** One quota of a tenant: whole numbers in the unit of its kind, or money. */
export type QuotaState = {
  /** As QuotaExceeded.subject. */
  readonly name: string;
} & (
  | { readonly used: number; readonly allowed: number }
  | { readonly spent: Money; readonly budget: Money; readonly resetTime: Date }
);

/** Which rows of the ledger. */
export interface UsageFilter {
  /** Null: the start of this month, in UTC. */
  readonly from: Date | null;
  /** Null: no bound. */
  readonly to: Date | null;
  readonly owner: string;
  readonly labels: Readonly<Record<string, string>>;
}

export interface UsageListRequest extends Checked {
  readonly filter: UsageFilter;
  /** From 1 to 1000. */
  readonly pageSize: number;
  readonly pageToken: string;
}

export interface UsageSumRequest extends UsageListRequest {
  /** Null: the total alone. */
  readonly grouping: Grouping | null;
}

/** Bytes of a download and their place in it. */
export interface Chunk {
  readonly offset: number;
  readonly chunk: Uint8Array;
}

/**
 * What the transport calls; server/application provides it. Rejections are classes of domain/errors.ts, anything else is a fault.
 * An aborted signal ends an iterable or rejects with the abort reason; iterables release what they hold on `return()`.
 * Calls without a signal go on when their client is gone.
 */
export interface Application {
  createTask(caller: Caller, request: TaskRequest): Promise<Task>;
  /**
   * Settles as soon as the answer is known, even before the last chunk. `chunks` has one reader, throws when the client is gone
   * before the end of its upload or breaks the order of parts, and reads from the network no faster than it is read.
   */
  submitTask(
    caller: Caller,
    request: TaskRequest,
    upload: UploadHeader,
    chunks: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
  ): Promise<Task>;
  /** Rejects with what is wrong; the archive and inputs may come later. `project` tells of the archive, where its client knows. */
  validateTask(caller: Caller, request: TaskRequest, project: ProjectAnnouncement | null): Promise<void>;
  getTask(caller: Caller, id: string): Promise<Task>;
  listTasks(
    caller: Caller,
    request: ListRequest,
  ): Promise<{ tasks: readonly TaskRecord[]; nextPageToken: string }>;
  watchTask(caller: Caller, request: WatchRequest, signal: AbortSignal): AsyncIterable<TaskEvent>;
  /** At once and then at every change of a task or of what one uses. */
  watchTasks(caller: Caller, request: TasksRequest, signal: AbortSignal): AsyncIterable<TasksUnderWay>;
  /** `graceMillis` null takes the default. */
  cancelTask(caller: Caller, id: string, reason: string, graceMillis: number | null): Promise<Task>;
  rerunTask(caller: Caller, request: RerunRequest): Promise<Task>;
  deleteTask(caller: Caller, id: string): Promise<void>;
  listArtifacts(
    caller: Caller,
    request: ArtifactsRequest,
  ): Promise<{ artifacts: readonly Artifact[]; nextPageToken: string }>;
  downloadArtifact(
    caller: Caller,
    taskId: string,
    path: string,
    offset: number,
    signal: AbortSignal,
  ): AsyncIterable<Chunk>;

  getBlob(caller: Caller, sha256: string): Promise<BlobStatus>;
  /** As submitTask about `chunks`. */
  uploadBlob(
    caller: Caller,
    upload: UploadHeader,
    chunks: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
  ): Promise<BlobStatus>;
  downloadBlob(caller: Caller, sha256: string, offset: number, signal: AbortSignal): AsyncIterable<Chunk>;
  createUploadUrl(caller: Caller, request: UploadUrlRequest): Promise<UploadUrl>;
  createDownloadUrl(caller: Caller, request: DownloadUrlRequest): Promise<DownloadUrl>;

  /** `total` is null on all pages but the first. */
  getUsage(
    caller: Caller,
    request: UsageSumRequest,
  ): Promise<{ groups: readonly UsageGroup[]; total: UsageSum | null; nextPageToken: string }>;
  listUsage(
    caller: Caller,
    request: UsageListRequest,
  ): Promise<{ entries: readonly LedgerEntry[]; nextPageToken: string }>;
  estimateCost(caller: Caller, request: TaskRequest): Promise<Estimate>;
  /** Those that have a limit. */
  getQuota(caller: Caller): Promise<readonly QuotaState[]>;

  getCapabilities(): Promise<Capabilities>;
  /** Empty engine means the default. */
  getCapacity(engine: string): Promise<Capacity>;
  /** At once and then at every change. */
  watchCapacity(engine: string, signal: AbortSignal): AsyncIterable<Capacity>;
  getReconcileReport(): Promise<ReconcileReport>;

  readonly webhooks: Webhooks;
}
