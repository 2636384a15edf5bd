import fc from "fast-check";
import type { Charge } from "#server/domain/charge.ts";
import type { Limit, TaskLimits } from "#server/domain/limits.ts";
import {
  type Attempt,
  RESULT_REASONS,
  STAGE_NAMES,
  type Stage,
  TASK_STATES,
  type Task,
  type TaskResult,
  type TaskSpec,
  type Usage,
  type Wait,
} from "#server/domain/task.ts";

/** Plain objects, as the domain makes them. */
const record = <T>(fields: { readonly [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> =>
  fc.record<T>(fields, { noNullPrototype: true });

/** What protobuf can carry: any Unicode text, characters beyond U+FFFF included; NUL alone is not kept by every database. */
const text = fc.oneof(
  fc.string({ unit: "binary", maxLength: 12 }).map((some) => some.replaceAll("\0", "")),
  fc.constantFrom("", "'; drop table task; --", "\u2028", "🚢", "__proto__"),
);
const texts = fc.array(text, { maxLength: 3 });
const count = fc.nat({ max: Number.MAX_SAFE_INTEGER });
const time = fc.date({ noInvalidDate: true });
const textMap = fc.dictionary(text, text, { maxKeys: 4, noNullPrototype: true });
const orNull = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: null });

const limit = fc.constantFrom<Limit>("CPU", "RAM", "STORAGE", "GPU", "LOG", "RUN_TIME", "NETWORK");
const isolation = fc.constantFrom("CONTAINER" as const, "GVISOR" as const);
const network = fc.constantFrom("NONE" as const, "EGRESS" as const);

const budgets = {
  processes: count,
  openFiles: count,
  inodes: count,
  logBytes: count,
  artifactBytes: count,
};

const spec: fc.Arbitrary<TaskSpec> = record({
  taskType: text,
  code: text,
  resources: orNull(record({ cpu: text, gpu: text, ram: text, storage: text, gpuModel: text })),
  archiveSha256: text,
  entrypoint: text,
  args: texts,
  command: texts,
  env: textMap,
  secretEnv: textMap,
  stdin: text,
  workingDirectory: text,
  image: text,
  environment: orNull(record({ requirements: text, preload: texts })),
  inputs: fc.array(
    fc.oneof(
      record({ kind: fc.constant("blob" as const), path: text, sha256: text }),
      record({ kind: fc.constant("artifact" as const), path: text, taskId: text, artifactPath: text }),
    ),
    { maxLength: 3 },
  ),
  outputs: texts,
  budgets: orNull(record(budgets)),
  timeoutMillis: orNull(count),
  queueTimeoutMillis: orNull(count),
  totalTimeoutMillis: orNull(count),
  network: orNull(network),
  isolation: orNull(isolation),
  requireEnforced: fc.array(limit, { maxLength: 3 }),
  engine: text,
  account: text,
  partition: text,
  instanceType: text,
  priority: fc.integer(),
  expectedDurationMillis: orNull(count),
  dependsOn: texts,
  maxAttempts: count,
  useResultCache: fc.boolean(),
  displayName: text,
  labels: textMap,
  webhooks: fc.array(record({ url: text, states: fc.array(fc.constantFrom(...TASK_STATES)) }), {
    maxLength: 2,
  }),
  experiment: orNull(record({ trackingUri: text, name: text })),
  retentionMillis: orNull(count),
  requestId: text,
});

const limits: fc.Arbitrary<TaskLimits> = record({
  cpuMillis: count,
  ramBytes: count,
  storageBytes: count,
  gpuCount: count,
  ...budgets,
  runMillis: count,
  queueMillis: orNull(count),
  totalMillis: orNull(count),
});

const wait: fc.Arbitrary<Wait> = record({
  kind: fc.constantFrom("CAPACITY" as const, "QUOTA" as const, "RETRY" as const),
  limit: orNull(limit),
  needed: count,
  available: count,
  position: count,
  blockingTaskIds: texts,
  since: time,
  message: text,
});

const result: fc.Arbitrary<TaskResult> = record({
  reason: fc.constantFrom(...RESULT_REASONS),
  exitCode: orNull(fc.nat(255)),
  signal: orNull(fc.nat(64)),
  termination: orNull(
    record({
      limit: orNull(limit),
      limitValue: count,
      observedPeak: count,
      killer: orNull(fc.constantFrom("KERNEL" as const, "RUNNER" as const, "CLIENT" as const)),
      process: text,
    }),
  ),
  message: text,
  advice: text,
  stdoutTail: text,
  stderrTail: text,
  stdoutBytes: count,
  stderrBytes: count,
  limitsHit: fc.array(limit, { maxLength: 3 }),
  artifactsError: text,
});

const nanos = fc.bigInt({ min: 0n, max: 2n ** 70n });

const charge: fc.Arbitrary<Charge> = record({
  currency: fc.constantFrom("", "USD", "EUR"),
  nanos,
  cpuHourNanos: nanos,
  ramGbHourNanos: nanos,
  storageGbHourNanos: nanos,
  gpus: fc.array(record({ model: text, count: fc.nat(8), hourNanos: nanos }), { maxLength: 2 }),
});

const usage: fc.Arbitrary<Usage> = record({
  cpuMicros: count,
  peakRamBytes: count,
  peakStorageBytes: count,
  peakProcesses: count,
  logBytes: count,
  chargedMillis: count,
  charge: orNull(charge),
});

const attempt: fc.Arbitrary<Attempt> = record({
  number: fc.constant(0),
  engine: text,
  sandboxId: text,
  containerId: text,
  imageDigest: text,
  environmentId: text,
  isolation,
  warm: fc.boolean(),
  gpuIds: texts,
  startTime: time,
  runStartTime: orNull(time),
  endTime: orNull(time),
  result: orNull(result),
  usage: orNull(usage),
  experimentRun: orNull(record({ experimentId: text, runId: text, url: text })),
  released: fc.boolean(),
});

const attempts = fc
  .array(attempt, { maxLength: 3 })
  .map((list) => list.map((item, index) => ({ ...item, number: index + 1 })));

const stage: fc.Arbitrary<Stage> = record({
  name: fc.constantFrom(...STAGE_NAMES),
  attempt: fc.nat(9),
  startTime: time,
  endTime: orNull(time),
  note: text,
  spanId: text,
  error: text,
});

/** What may differ between two versions of a task. */
const changing = {
  state: fc.constantFrom(...TASK_STATES),
  limits,
  isolation,
  network,
  image: text,
  program: fc.oneof(
    record({ kind: fc.constant("script" as const), script: text }),
    record({ kind: fc.constant("module" as const), module: text, function: orNull(text) }),
    record({ kind: fc.constant("command" as const), command: texts }),
  ),
  environment: orNull(record({ requirements: text, source: text, preload: texts })),
  archiveSha256: text,
  inputs: fc.array(record({ path: text, sha256: text, sizeBytes: count }), { maxLength: 3 }),
  wait: orNull(wait),
  result: orNull(result),
  attempts,
  stages: fc.array(stage, { maxLength: 6 }),
  cancellation: orNull(record({ reason: text, graceMillis: count, time })),
  startTime: orNull(time),
  endTime: orNull(time),
  expireTime: orNull(time),
  cacheKey: text,
  cachedOutput: orNull(record({ engine: text, sandboxId: text })),
};

/** Any task of any content, hostile texts included; the id is left to the caller. */
export const arbitraryTask: fc.Arbitrary<Omit<Task, "id">> = record({
  tenant: text,
  owner: text,
  version: fc.constant(1),
  spec,
  programDigest: text,
  expectedMillis: orNull(count),
  specDigest: text,
  traceId: text,
  rootSpanId: text,
  parentSpanId: text,
  createTime: time,
  rerunOf: text,
  cachedFrom: fc.constant(""),
  ...changing,
});

/** Any parts of a later version. */
export const arbitraryChange: fc.Arbitrary<Partial<Task>> = fc.record(changing, {
  requiredKeys: [],
  noNullPrototype: true,
});
