import type { InstanceType } from "./instance-type.ts";
import type { Budgets } from "./limits.ts";
import type { Engine, EngineTier } from "./ports/engine.ts";
import type { Resources } from "./resources.ts";

/** What this server can do, as clients are told. */
export interface Capabilities {
  readonly version: string;
  /** The default first. */
  readonly engines: readonly EngineSummary[];
  readonly defaultResources: Resources;
  readonly defaultBudgets: Budgets;
  readonly maxBudgets: Budgets;
  readonly defaultTimeoutMillis: number;
  readonly maxTimeoutMillis: number;
  readonly maxCodeBytes: number;
  readonly maxUploadBytes: number;
  readonly maxChunkBytes: number;
  /** Image patterns that a request may name. */
  readonly allowedImages: readonly string[];
  /** Names that a request may use for images. */
  readonly imageAliases: readonly string[];
  readonly instanceTypes: ReadonlyMap<string, InstanceType>;
  readonly presignedUrls: boolean;
  /** Where people look at a trace, with "{trace_id}" in it; empty where that is not known. */
  readonly traceUrl: string;
  readonly environments: EnvironmentSupport;
}

/** How packages are installed for tasks. */
export interface EnvironmentSupport {
  /** Empty where they can be. */
  readonly unsupported: string;
  /** With its version. */
  readonly installer: string;
  readonly sources: boolean;
  readonly addresses: boolean;
  readonly resources: Resources;
  readonly timeoutMillis: number;
}

/** One place where tasks may run. */
export interface EngineSummary {
  readonly name: string;
  readonly kind: Engine["kind"];
  readonly version: string;
  /** The default first. */
  readonly tiers: readonly EngineTier[];
  /** The most one task may ask for. */
  readonly largestTask: Resources;
  readonly gpuModels: readonly string[];
  readonly aliases: readonly string[];
  /** By name: why its sandboxes do not reach it; empty where they do. */
  readonly trackers: ReadonlyMap<string, string>;
  /** Why it starts nothing at the moment; empty where it does. */
  readonly unavailable: string;
}

/** What one engine has, holds and can still take. */
export interface Capacity {
  readonly total: Resources;
  /** Kept back by configuration. */
  readonly reserve: Resources;
  /** Held by starting and running attempts. */
  readonly held: Resources;
  /** Held by containers that are not ours. */
  readonly foreign: Resources;
  /** Left for the next task; idle warm sandboxes give way and count as free. */
  readonly free: Resources;
  readonly running: number;
  readonly queued: number;
  readonly warm: number;
}
