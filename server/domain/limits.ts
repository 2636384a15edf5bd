import type { Resources } from "./resources.ts";

/** Everything the server may limit; one vocabulary for capabilities, requirements, waits and endings. */
export type Limit =
  | "CPU"
  | "RAM"
  | "STORAGE"
  | "GPU"
  | "PROCESSES"
  | "OPEN_FILES"
  | "INODES"
  | "LOG"
  | "ARTIFACTS"
  | "RUN_TIME"
  | "QUEUE_TIME"
  | "TOTAL_TIME"
  | "QUOTA"
  | "NETWORK";

/** Budgets beside resources; in a request 0 takes the server's default. */
export interface Budgets {
  readonly processes: number;
  readonly openFiles: number;
  readonly inodes: number;
  readonly logBytes: number;
  readonly artifactBytes: number;
}

/** What an attempt is held to, defaults applied. Times in milliseconds. */
export interface TaskLimits extends Resources, Budgets {
  readonly runMillis: number;
  /** Longest wait in the queue; null means no limit. */
  readonly queueMillis: number | null;
  /** From creation to end over all attempts; null means no limit. */
  readonly totalMillis: number | null;
}

/** How well a limit holds in one isolation tier of one engine, by what, and what would make it better. */
export interface LimitSupport {
  readonly limit: Limit;
  readonly level: "ENFORCED" | "ADVISORY" | "UNSUPPORTED";
  readonly mechanism: string;
  readonly advice: string;
}
