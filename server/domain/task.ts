import type { Charge } from "./charge.ts";
import type { Budgets, Limit, TaskLimits } from "./limits.ts";
import type { ResourceRequest } from "./resources.ts";

export const TASK_STATES = [
  "QUEUED",
  "PREPARING",
  "RUNNING",
  "COLLECTING",
  "CANCELLING",
  "SUCCEEDED",
  "FAILED",
  "CANCELLED",
] as const;
export type TaskState = (typeof TASK_STATES)[number];

export const TERMINAL_STATES = ["SUCCEEDED", "FAILED", "CANCELLED"] as const;
export type TerminalState = (typeof TERMINAL_STATES)[number];

export function isTerminal(state: TaskState): state is TerminalState {
  return TERMINAL_STATES.some((terminal) => terminal === state);
}

export type Isolation = "CONTAINER" | "GVISOR";
export type Network = "NONE" | "EGRESS" | "TRACKING";

export const RESULT_REASONS = [
  "EXITED",
  "SIGNALED",
  "TIMED_OUT",
  "OUT_OF_MEMORY",
  "STORAGE_FULL",
  "OUTPUT_LIMIT",
  "PROCESS_LIMIT",
  "CANCELLED",
  "ENVIRONMENT_FAILED",
  "INPUT_FAILED",
  "DEPENDENCY_FAILED",
  "QUEUE_TIMED_OUT",
  "BUDGET_EXCEEDED",
  "LOST",
  "SYSTEM_ERROR",
] as const;
export type ResultReason = (typeof RESULT_REASONS)[number];

/** Our faults: may be retried as a new attempt and are not charged (see application/meter.ts for whose word counts). */
export function isSystemFault(reason: ResultReason): boolean {
  return reason === "LOST" || reason === "SYSTEM_ERROR";
}

/** Packages a task needs, and modules that warm sandboxes import beforehand. */
export interface EnvironmentSpec {
  /** Lines of a requirements.txt. */
  readonly requirements: string;
  readonly preload: readonly string[];
}

/** What a task's environment is made of, found out when it was submitted. */
export interface TaskEnvironment {
  /** Lines of a requirements.txt; empty for none. */
  readonly requirements: string;
  /** Where the lines are from, for messages: a path in the project, or the request's own field. */
  readonly source: string;
  /** Modules that warm sandboxes import beforehand. */
  readonly preload: readonly string[];
}

/** One piece of data placed in the sandbox, read-only, at `path` below the workspace. */
export type TaskInput = { readonly path: string } & (
  | { readonly kind: "blob"; readonly sha256: string }
  | { readonly kind: "artifact"; readonly taskId: string; readonly artifactPath: string }
);

/** What an input came to: bytes of a known digest, at its normalised path below the workspace. */
export interface InputFile {
  readonly path: string;
  /** Empty while it is an artifact that does not exist yet. */
  readonly sha256: string;
  readonly sizeBytes: number;
}

/** An address told of state changes; no states means the terminal ones. */
export interface WebhookSpec {
  readonly url: string;
  readonly states: readonly TaskState[];
}

/** Experiment tracking handed to the script. */
export interface ExperimentSpec {
  readonly trackingUri: string;
  readonly name: string;
}

/** What a client asked for, as asked: a rerun is create(spec). Empty strings, 0 and null take the server's defaults. */
export interface TaskSpec {
  readonly taskType: string;
  readonly code: string;
  readonly resources: ResourceRequest | null;
  readonly archiveSha256: string;
  readonly entrypoint: string;
  readonly args: readonly string[];
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Sealed values by name (SecretBox); plain ones never get this far. */
  readonly secretEnv: Readonly<Record<string, string>>;
  /** Base64 of the bytes on standard input. */
  readonly stdin: string;
  readonly workingDirectory: string;
  readonly image: string;
  /** Null, or modules to preload without requirements: the project's requirements.txt, if there is one. */
  readonly environment: EnvironmentSpec | null;
  readonly inputs: readonly TaskInput[];
  readonly outputs: readonly string[];
  readonly budgets: Budgets | null;
  readonly timeoutMillis: number | null;
  readonly queueTimeoutMillis: number | null;
  readonly totalTimeoutMillis: number | null;
  readonly network: Network | null;
  readonly isolation: Isolation | null;
  readonly requireEnforced: readonly Limit[];
  readonly engine: string;
  readonly account: string;
  readonly partition: string;
  readonly instanceType: string;
  readonly priority: number;
  /** The client's estimate of the run; null means learnt from earlier runs. */
  readonly expectedDurationMillis: number | null;
  /** Ids of tasks that must succeed first. */
  readonly dependsOn: readonly string[];
  readonly maxAttempts: number;
  readonly useResultCache: boolean;
  readonly displayName: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly webhooks: readonly WebhookSpec[];
  readonly experiment: ExperimentSpec | null;
  readonly retentionMillis: number | null;
  readonly requestId: string;
}

/** Why a queued task does not run yet. Amounts are in the unit of the limit: bytes, CPU millis, counts. */
export interface Wait {
  readonly kind: "CAPACITY" | "QUOTA" | "DEPENDENCY" | "ENVIRONMENT" | "ENGINE" | "PAUSED" | "RETRY";
  readonly limit: Limit | null;
  readonly needed: number;
  readonly available: number;
  /** 1 is next. */
  readonly position: number;
  readonly blockingTaskIds: readonly string[];
  readonly since: Date;
  readonly message: string;
}

/** Which limit, how far it got, and who acted. Values are bytes, counts, CPU millis or milliseconds. */
export interface Termination {
  readonly limit: Limit | null;
  readonly limitValue: number;
  readonly observedPeak: number;
  readonly killer: "KERNEL" | "RUNNER" | "SERVER" | "CLIENT" | "ENGINE" | null;
  readonly process: string;
}

export interface TaskResult {
  readonly reason: ResultReason;
  readonly exitCode: number | null;
  readonly signal: number | null;
  readonly termination: Termination | null;
  readonly message: string;
  readonly advice: string;
  /** Last 4 KiB, invalid UTF-8 replaced. */
  readonly stdoutTail: string;
  readonly stderrTail: string;
  readonly stdoutBytes: number;
  readonly stderrBytes: number;
  readonly limitsHit: readonly Limit[];
  readonly artifactsError: string;
}

export interface Usage {
  readonly cpuMicros: number;
  readonly peakRamBytes: number;
  readonly peakStorageBytes: number;
  readonly peakProcesses: number;
  readonly logBytes: number;
  /** Time the requested resources were held and are charged for; 0 for a system fault. */
  readonly chargedMillis: number;
  /** What that costs; null for an attempt from before there were charges. */
  readonly charge: Charge | null;
}

export const NO_USAGE: Usage = {
  cpuMicros: 0,
  peakRamBytes: 0,
  peakStorageBytes: 0,
  peakProcesses: 0,
  logBytes: 0,
  chargedMillis: 0,
  charge: null,
};

/** Where an attempt's metrics and parameters are tracked. */
export interface ExperimentRun {
  readonly experimentId: string;
  readonly runId: string;
  /** Its page on the tracking server. */
  readonly url: string;
}

export interface Attempt {
  /** From 1. */
  readonly number: number;
  readonly engine: string;
  /** Our own id of the sandbox: names the container and its files. */
  readonly sandboxId: string;
  /** The engine's id; empty until the container exists. */
  readonly containerId: string;
  readonly imageDigest: string;
  /** Hash of everything that goes into its environment; empty for none. */
  readonly environmentId: string;
  readonly isolation: Isolation;
  readonly warm: boolean;
  /** Whole GPUs held, by id. */
  readonly gpuIds: readonly string[];
  readonly startTime: Date;
  /** When the user's code began to run, by the server's clock; null when it never did. */
  readonly runStartTime: Date | null;
  readonly endTime: Date | null;
  readonly result: TaskResult | null;
  readonly usage: Usage | null;
  /** Null without an experiment. */
  readonly experimentRun: ExperimentRun | null;
  /** Its container and mounts are gone. */
  readonly released: boolean;
}

export const STAGE_NAMES = [
  "upload",
  "validate",
  "queue",
  "environment",
  "sandbox",
  "stage_in",
  "run",
  "collect",
  "cleanup",
] as const;
export type StageName = (typeof STAGE_NAMES)[number];

/** A timed part of a task; one span with the same name and times. Attempt 0 is before the first. */
export interface Stage {
  readonly name: StageName;
  readonly attempt: number;
  readonly startTime: Date;
  readonly endTime: Date | null;
  readonly note: string;
  /** Hex id of its span. */
  readonly spanId: string;
  /** One sentence when the stage failed. */
  readonly error: string;
}

export interface Cancellation {
  readonly reason: string;
  readonly graceMillis: number;
  readonly time: Date;
}

/** A request to run something and its durable record. Immutable: every change makes a new one with a higher version. */
export interface Task {
  /** ULID. */
  readonly id: string;
  readonly tenant: string;
  readonly owner: string;
  /** Counts the changes of the record; the event sequence of watches. */
  readonly version: number;
  readonly state: TaskState;
  readonly spec: TaskSpec;
  /** Digest of what is run, whatever the arguments: its runs are about as long as each other. */
  readonly programDigest: string;
  /** How long it will run, given by the client or learnt from earlier runs; null when nobody knows. */
  readonly expectedMillis: number | null;
  /** Digest of the spec's content, to tell a repeated request from another with the same request id. */
  readonly specDigest: string;
  readonly limits: TaskLimits;
  readonly isolation: Isolation;
  readonly network: Network;
  /** Image in force, by name; the digest is the attempt's. */
  readonly image: string;
  /** What is run, resolved from spec: a script of the project, "module:function", or a command. */
  readonly program: Program;
  /** Null for the image alone. */
  readonly environment: TaskEnvironment | null;
  readonly archiveSha256: string;
  /** In the order of spec.inputs. Their bytes stay for as long as the task does. */
  readonly inputs: readonly InputFile[];
  /** Not stored: the scheduler tells it of a queued task whenever one is read. */
  readonly wait: Wait | null;
  /** Not stored: what the attempt under way costs by now, told whenever its task is read. */
  readonly accrued?: Charge;
  readonly result: TaskResult | null;
  readonly attempts: readonly Attempt[];
  readonly stages: readonly Stage[];
  readonly cancellation: Cancellation | null;
  readonly traceId: string;
  readonly rootSpanId: string;
  /** Span id of the caller's traceparent; empty when it sent none. */
  readonly parentSpanId: string;
  readonly createTime: Date;
  readonly startTime: Date | null;
  readonly endTime: Date | null;
  readonly expireTime: Date | null;
  readonly rerunOf: string;
  /** Digest of all that goes into a run; empty where equal ones need not come to the same. */
  readonly cacheKey: string;
  /** The task whose result answers this one; empty for one that runs itself. */
  readonly cachedFrom: string;
  /** Where that task's output lies, which is this one's, too. */
  readonly cachedOutput: OutputPlace | null;
}

/** The journal of one attempt. */
export interface OutputPlace {
  readonly engine: string;
  readonly sandboxId: string;
}

/** What a reader of output has to know of an attempt. */
export type WrittenAttempt = OutputPlace & Pick<Attempt, "containerId" | "startTime" | "endTime" | "result">;

/** The attempts that wrote a task's output: its own, or the one of the task whose result answers it. */
export function writtenAttempts(task: Task): readonly WrittenAttempt[] {
  const { cachedOutput, createTime: startTime, endTime, result } = task;
  return cachedOutput === null
    ? task.attempts
    : [{ ...cachedOutput, containerId: "", startTime, endTime, result }];
}

export type Program =
  | { readonly kind: "script"; readonly script: string }
  | { readonly kind: "module"; readonly module: string; readonly function: string | null }
  | { readonly kind: "command"; readonly command: readonly string[] };

export interface Artifact {
  /** Path below the workspace, "/" between parts. */
  readonly path: string;
  readonly sizeBytes: number;
  readonly sha256: string;
}
