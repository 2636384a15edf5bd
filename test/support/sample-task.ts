import type { Policy } from "#server/domain/policy.ts";
import { GIBIBYTE, MEBIBYTE } from "#server/domain/resources.ts";
import type { Attempt, Task, TaskResult, TaskSpec } from "#server/domain/task.ts";
import { withoutAttempt } from "#server/domain/verdict.ts";

export const SAMPLE_TIME = new Date("2026-01-02T03:04:05.678Z");

export function sampleSpec(fields: Partial<TaskSpec> = {}): TaskSpec {
  return {
    taskType: "execute_code",
    code: "print('Hello, World!')",
    resources: { cpu: "1", gpu: "0", ram: "256MB", storage: "500MB", gpuModel: "" },
    archiveSha256: "",
    entrypoint: "",
    args: [],
    command: [],
    env: {},
    secretEnv: {},
    stdin: "",
    workingDirectory: "",
    image: "",
    outputs: [],
    budgets: null,
    timeoutMillis: null,
    queueTimeoutMillis: null,
    totalTimeoutMillis: null,
    network: null,
    isolation: null,
    requireEnforced: [],
    engine: "",
    priority: 0,
    maxAttempts: 0,
    displayName: "",
    labels: {},
    retentionMillis: null,
    requestId: "",
    ...fields,
  };
}

export function samplePolicy(fields: Partial<Policy> = {}): Policy {
  const budgets = {
    processes: 256,
    openFiles: 1024,
    inodes: 65536,
    logBytes: 64 * MEBIBYTE,
    artifactBytes: GIBIBYTE,
  };
  return {
    defaultResources: { cpuMillis: 1000, ramBytes: 512 * MEBIBYTE, storageBytes: GIBIBYTE, gpuCount: 0 },
    defaultBudgets: budgets,
    maxBudgets: {
      processes: 4096,
      openFiles: 65536,
      inodes: 4_000_000,
      logBytes: 4 * GIBIBYTE,
      artifactBytes: 10 * GIBIBYTE,
    },
    defaultTimeoutMillis: 30_000,
    maxTimeoutMillis: 3_600_000,
    maxCodeBytes: MEBIBYTE,
    maxStdinBytes: MEBIBYTE,
    maxUploadBytes: GIBIBYTE,
    defaultIsolation: "CONTAINER",
    defaultImage: "longshore/executor:dev",
    allowedImages: [],
    defaultRetentionMillis: 3_600_000,
    maxRetentionMillis: 86_400_000,
    maxStageInMillis: 60_000,
    maxCollectMillis: 60_000,
    defaultStopGraceMillis: 5000,
    maxStopGraceMillis: 60_000,
    reserve: { cpuMillis: 0, ramBytes: 0, storageBytes: 0, gpuCount: 0 },
    maxQueuedTasks: 1000,
    ...fields,
  };
}

export function sampleTask(fields: Partial<Task> = {}): Task {
  return {
    id: "01JD3M8Q2E7V0000000000000A",
    tenant: "default",
    owner: "local",
    version: 1,
    state: "QUEUED",
    spec: sampleSpec(),
    specDigest: "0".repeat(64),
    limits: {
      ...samplePolicy().defaultResources,
      ...samplePolicy().defaultBudgets,
      runMillis: 30_000,
      queueMillis: null,
      totalMillis: null,
    },
    isolation: "CONTAINER",
    network: "NONE",
    image: "longshore/executor:dev",
    program: { kind: "script", script: "main.py" },
    archiveSha256: "",
    wait: null,
    result: null,
    attempts: [],
    stages: [],
    cancellation: null,
    traceId: "4bf92f3577b34da6a3ce929d0e0e4736",
    rootSpanId: "00f067aa0ba902b7",
    parentSpanId: "",
    createTime: SAMPLE_TIME,
    startTime: null,
    endTime: null,
    expireTime: null,
    rerunOf: "",
    ...fields,
  };
}

export function sampleAttempt(fields: Partial<Attempt> = {}): Attempt {
  return {
    number: 1,
    engine: "docker",
    sandboxId: "01JD3M8Q2E7V0000000000000S",
    containerId: "",
    imageDigest: "sha256:abc",
    isolation: "CONTAINER",
    warm: false,
    gpuIds: [],
    startTime: SAMPLE_TIME,
    runStartTime: null,
    endTime: null,
    result: null,
    usage: null,
    released: false,
    ...fields,
  };
}

export function exited(exitCode: number): TaskResult {
  return { ...withoutAttempt("EXITED", `exited with ${exitCode}`, ""), exitCode };
}
