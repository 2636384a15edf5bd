import {
  type Attempt,
  NO_USAGE,
  type Stage,
  type Task,
  type TaskResult,
  type TaskSpec,
} from "#server/domain/task.ts";

export const SAMPLE_TIME = new Date("2026-01-02T03:04:05.678Z");

export const SAMPLE_SPEC: TaskSpec = {
  taskType: "execute_code",
  code: "print('Hello, World!')",
  resources: { cpu: "2", gpu: "0", ram: "512MB", storage: "1GB", gpuModel: "" },
  archiveSha256: "",
  entrypoint: "",
  args: [],
  command: [],
  env: {},
  secretEnv: {},
  stdin: "",
  workingDirectory: "",
  image: "",
  environment: null,
  inputs: [],
  outputs: [],
  budgets: null,
  timeoutMillis: null,
  queueTimeoutMillis: null,
  totalTimeoutMillis: null,
  network: null,
  isolation: null,
  requireEnforced: [],
  engine: "",
  account: "",
  partition: "",
  instanceType: "",
  priority: 0,
  expectedDurationMillis: null,
  dependsOn: [],
  maxAttempts: 1,
  useResultCache: false,
  displayName: "",
  labels: {},
  webhooks: [],
  experiment: null,
  retentionMillis: null,
  requestId: "",
};

export const SAMPLE_RESULT: TaskResult = {
  reason: "EXITED",
  exitCode: 0,
  signal: null,
  termination: null,
  message: "",
  advice: "",
  stdoutTail: "Hello, World!\n",
  stderrTail: "",
  stdoutBytes: 14,
  stderrBytes: 0,
  limitsHit: [],
  artifactsError: "",
};

/** Ids that sort by `place`, oldest first, as ULIDs do. */
export function sampleId(place: number): string {
  return `01JH${String(place).padStart(22, "0")}`;
}

/** A queued snippet; parts of it replaced. */
export function sampleTask(place: number, changes: Partial<Task> = {}, spec: Partial<TaskSpec> = {}): Task {
  return {
    id: sampleId(place),
    tenant: "tenant",
    owner: "owner",
    version: 1,
    state: "QUEUED",
    spec: { ...SAMPLE_SPEC, ...spec },
    programDigest: "e".repeat(64),
    expectedMillis: null,
    specDigest: "d".repeat(64),
    limits: {
      cpuMillis: 2000,
      ramBytes: 2 ** 29,
      storageBytes: 2 ** 30,
      gpuCount: 0,
      processes: 256,
      openFiles: 1024,
      inodes: 65_536,
      logBytes: 2 ** 26,
      artifactBytes: 2 ** 28,
      runMillis: 30_000,
      queueMillis: null,
      totalMillis: null,
    },
    isolation: "CONTAINER",
    network: "NONE",
    image: "longshore-python",
    program: { kind: "script", script: "main.py" },
    environment: null,
    archiveSha256: "",
    inputs: [],
    wait: null,
    result: null,
    attempts: [],
    stages: [],
    cancellation: null,
    traceId: "0af7651916cd43dd8448eb211c80319c",
    rootSpanId: "b7ad6b7169203331",
    parentSpanId: "",
    createTime: SAMPLE_TIME,
    startTime: null,
    endTime: null,
    expireTime: null,
    rerunOf: "",
    cacheKey: "",
    cachedFrom: "",
    cachedOutput: null,
    ...changes,
  };
}

export function sampleAttempt(number: number, changes: Partial<Attempt> = {}): Attempt {
  return {
    number,
    engine: "docker",
    sandboxId: `sandbox-${number}`,
    containerId: "",
    imageDigest: "sha256:abc",
    environmentId: "",
    isolation: "CONTAINER",
    warm: true,
    gpuIds: [],
    startTime: SAMPLE_TIME,
    runStartTime: null,
    endTime: null,
    result: null,
    usage: null,
    experimentRun: null,
    released: false,
    ...changes,
  };
}

export function sampleStage(name: Stage["name"], attempt: number, changes: Partial<Stage> = {}): Stage {
  return {
    name,
    attempt,
    startTime: SAMPLE_TIME,
    endTime: null,
    note: "",
    spanId: "1".repeat(16),
    error: "",
    ...changes,
  };
}

/** The next version, changed. */
export function next(task: Task, changes: Partial<Task>): Task {
  return { ...task, ...changes, version: task.version + 1 };
}

/** Ended well, with its one attempt released. */
export function succeeded(task: Task): Task {
  const attempt = sampleAttempt(1, {
    endTime: SAMPLE_TIME,
    result: SAMPLE_RESULT,
    usage: NO_USAGE,
    released: true,
  });
  return next(task, { state: "SUCCEEDED", result: SAMPLE_RESULT, endTime: SAMPLE_TIME, attempts: [attempt] });
}
