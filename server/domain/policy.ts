import type { InstanceType } from "./instance-type.ts";
import type { Budgets } from "./limits.ts";
import type { Resources } from "./resources.ts";
import type { Isolation } from "./task.ts";
import type { TrackingServer } from "./tracking.ts";

/** What the operator allows and what an absent field becomes. Times in milliseconds. */
export interface Policy {
  readonly defaultResources: Resources;
  readonly defaultBudgets: Budgets;
  readonly maxBudgets: Budgets;
  readonly defaultTimeoutMillis: number;
  readonly maxTimeoutMillis: number;
  readonly maxCodeBytes: number;
  readonly maxStdinBytes: number;
  readonly maxUploadBytes: number;
  readonly defaultIsolation: Isolation;
  readonly defaultImage: string;
  /** Exact names or globs of images that a request may name. */
  readonly allowedImages: readonly string[];
  /** Images by names of the operator's own, each allowed. */
  readonly imageAliases: ReadonlyMap<string, string>;
  /** Experiment tracking servers by name. */
  readonly trackingServers: ReadonlyMap<string, TrackingServer>;
  /** Whether a request may name another by its URL, which must be public. */
  readonly publicTracking: boolean;
  /** OTEL_* variables of tasks that reach a collector of their own: those with network EGRESS. */
  readonly taskTelemetry: ReadonlyMap<string, string>;
  /** Kinds of machines; without any, a task may name what it likes. */
  readonly instanceTypes: ReadonlyMap<string, InstanceType>;
  readonly defaultRetentionMillis: number;
  readonly maxRetentionMillis: number;
  /** Longest unpacking of a project, and longest collecting of artifacts. */
  readonly maxStageInMillis: number;
  readonly maxCollectMillis: number;
  readonly defaultStopGraceMillis: number;
  readonly maxStopGraceMillis: number;
  /** RAM, storage (and CPU, 0 by default) kept back for the host. */
  readonly reserve: Resources;
  readonly maxQueuedTasks: number;
  /** A task of one more priority goes as if it had come so much earlier; 0 lets priority alone decide. */
  readonly agingMillis: number;
  /** Shares of the tenants that count other than 1. */
  readonly tenantWeights: ReadonlyMap<string, number>;
  /** What containers of others hold on the same host is not given to tasks. */
  readonly countForeign: boolean;
}
