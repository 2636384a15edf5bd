import type { Policy } from "#server/domain/policy.ts";
import { GIBIBYTE, MEBIBYTE } from "#server/domain/resources.ts";

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
    imageAliases: new Map(),
    taskTelemetry: new Map(),
    trackingServers: new Map(),
    publicTracking: false,
    instanceTypes: new Map(),
    defaultRetentionMillis: 3_600_000,
    maxRetentionMillis: 86_400_000,
    maxStageInMillis: 60_000,
    maxCollectMillis: 60_000,
    defaultStopGraceMillis: 5000,
    maxStopGraceMillis: 60_000,
    reserve: { cpuMillis: 0, ramBytes: 0, storageBytes: 0, gpuCount: 0 },
    maxQueuedTasks: 1000,
    agingMillis: 300_000,
    tenantWeights: new Map(),
    countForeign: true,
    ...fields,
  };
}
