import { z } from "zod";
import type { ArchiveManifest } from "../../domain/blob.ts";
import type { Charge } from "../../domain/charge.ts";
import type { Limit, TaskLimits } from "../../domain/limits.ts";
import {
  type Cancellation,
  type ExperimentRun,
  type InputFile,
  type Program,
  RESULT_REASONS,
  TASK_STATES,
  type TaskEnvironment,
  type TaskResult,
  type TaskSpec,
  type Usage,
  type Wait,
} from "../../domain/task.ts";

/*
 * What the text columns hold, checked when a row is read: a row that a person or a failing disk has changed must be named,
 * not run. `satisfies` refuses a schema that lacks a field of the domain, which would be lost silently.
 */

const LIMITS = [
  "CPU",
  "RAM",
  "STORAGE",
  "GPU",
  "PROCESSES",
  "OPEN_FILES",
  "INODES",
  "LOG",
  "ARTIFACTS",
  "RUN_TIME",
  "QUEUE_TIME",
  "TOTAL_TIME",
  "QUOTA",
  "NETWORK",
] as const satisfies readonly Limit[];

export const isolation = z.enum(["CONTAINER", "GVISOR"]);
export const network = z.enum(["NONE", "EGRESS", "TRACKING"]);
const limit = z.enum(LIMITS);
const number = z.number();
const text = z.string();
const texts = z.array(text);

/** Not z.record, which drops the key "__proto__": a hostile but possible name of a variable. */
const textMap = z.custom<Record<string, string>>(
  (value) =>
    typeof value === "object" &&
    value !== null &&
    !Array.isArray(value) &&
    Object.values(value).every((item) => typeof item === "string"),
  "is not a map of texts",
);

const date = text.pipe(
  z.transform((value, context) => {
    const parsed = new Date(value);
    if (Number.isNaN(parsed.getTime())) context.addIssue("is not a time");
    return parsed;
  }),
);

const input = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("blob"), path: text, sha256: text }),
  z.object({ kind: z.literal("artifact"), path: text, taskId: text, artifactPath: text }),
]);

// A field that came later has a default: rows of an earlier version lack it.
export const spec = z.object({
  taskType: text,
  code: text,
  resources: z.object({ cpu: text, gpu: text, ram: text, storage: text, gpuModel: text }).nullable(),
  archiveSha256: text,
  entrypoint: text,
  args: texts,
  command: texts,
  env: textMap,
  secretEnv: textMap,
  stdin: text,
  workingDirectory: text,
  image: text,
  environment: z.object({ requirements: text, preload: texts }).nullable().default(null),
  inputs: z.array(input).default([]),
  outputs: texts,
  budgets: z
    .object({
      processes: number,
      openFiles: number,
      inodes: number,
      logBytes: number,
      artifactBytes: number,
    })
    .nullable(),
  timeoutMillis: number.nullable(),
  queueTimeoutMillis: number.nullable(),
  totalTimeoutMillis: number.nullable(),
  network: network.nullable(),
  isolation: isolation.nullable(),
  requireEnforced: z.array(limit),
  engine: text,
  account: text.default(""),
  partition: text.default(""),
  instanceType: text.default(""),
  priority: number,
  expectedDurationMillis: number.nullable().default(null),
  dependsOn: texts.default([]),
  maxAttempts: number,
  useResultCache: z.boolean().default(false),
  displayName: text,
  labels: textMap,
  webhooks: z.array(z.object({ url: text, states: z.array(z.enum(TASK_STATES)) })).default([]),
  experiment: z.object({ trackingUri: text, name: text }).nullable().default(null),
  retentionMillis: number.nullable(),
  requestId: text,
}) satisfies z.ZodType<TaskSpec>;

export const inputs = z.array(z.object({ path: text, sha256: text, sizeBytes: number })) satisfies z.ZodType<
  InputFile[]
>;

export const program = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("script"), script: text }),
  z.object({ kind: z.literal("module"), module: text, function: text.nullable() }),
  z.object({ kind: z.literal("command"), command: texts }),
]) satisfies z.ZodType<Program>;

export const environment = z.object({
  requirements: text,
  source: text,
  preload: texts,
}) satisfies z.ZodType<TaskEnvironment>;

export const limits = z.object({
  cpuMillis: number,
  ramBytes: number,
  storageBytes: number,
  gpuCount: number,
  processes: number,
  openFiles: number,
  inodes: number,
  logBytes: number,
  artifactBytes: number,
  runMillis: number,
  queueMillis: number.nullable(),
  totalMillis: number.nullable(),
}) satisfies z.ZodType<TaskLimits>;

export const wait = z.object({
  kind: z.enum(["CAPACITY", "QUOTA", "DEPENDENCY", "ENVIRONMENT", "ENGINE", "PAUSED", "RETRY"]),
  limit: limit.nullable(),
  needed: number,
  available: number,
  position: number,
  blockingTaskIds: texts,
  since: date,
  message: text,
}) satisfies z.ZodType<Wait>;

export const result = z.object({
  reason: z.enum(RESULT_REASONS),
  exitCode: number.nullable(),
  signal: number.nullable(),
  termination: z
    .object({
      limit: limit.nullable(),
      limitValue: number,
      observedPeak: number,
      killer: z.enum(["KERNEL", "RUNNER", "SERVER", "CLIENT", "ENGINE"]).nullable(),
      process: text,
    })
    .nullable(),
  message: text,
  advice: text,
  stdoutTail: text,
  stderrTail: text,
  stdoutBytes: number,
  stderrBytes: number,
  limitsHit: z.array(limit),
  artifactsError: text,
}) satisfies z.ZodType<TaskResult>;

/** A bigint as its digits: JSON has no integers beyond 2^53. */
const digits = text
  .regex(/^\d{1,60}$/, "is not a whole number of billionths")
  .pipe(z.transform((value) => BigInt(value)));

export const charge = z.object({
  currency: text,
  nanos: digits,
  cpuHourNanos: digits,
  ramGbHourNanos: digits,
  storageGbHourNanos: digits,
  gpus: z.array(z.object({ model: text, count: number, hourNanos: digits })),
}) satisfies z.ZodType<Charge>;

/** The JSON that `charge` and `usage` read. */
export function withDigits(value: object): string {
  return JSON.stringify(value, (_key, item: unknown) => (typeof item === "bigint" ? String(item) : item));
}

export const usage = z.object({
  cpuMicros: number,
  peakRamBytes: number,
  peakStorageBytes: number,
  peakProcesses: number,
  logBytes: number,
  chargedMillis: number,
  charge: charge.nullable().default(null),
}) satisfies z.ZodType<Usage>;

export const cancellation = z.object({
  reason: text,
  graceMillis: number,
  time: date,
}) satisfies z.ZodType<Cancellation>;

export const manifest = z.object({
  fileCount: number,
  folderCount: number,
  contentBytes: number,
  tarBytes: number,
  topLevelScripts: texts,
  hasRequirements: z.boolean(),
}) satisfies z.ZodType<ArchiveManifest>;

export const gpuIds = texts;

export const experimentRun = z.object({
  experimentId: text,
  runId: text,
  url: text,
}) satisfies z.ZodType<ExperimentRun>;
