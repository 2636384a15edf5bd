import type { ExperimentRun } from "../task.ts";
import type { TrackingServer } from "../tracking.ts";

/** How whoever made the task signs in at its tracking server. */
export interface TrackingCredentials {
  readonly username: string;
  readonly password: string;
  /** Instead of a name and a password. */
  readonly token: string;
}

export interface RunOrder {
  readonly server: TrackingServer;
  /** By name; made where it is new. */
  readonly experiment: string;
  readonly runName: string;
  readonly user: string;
  readonly tags: Readonly<Record<string, string>>;
  readonly credentials: TrackingCredentials;
}

export type RunStatus = "FINISHED" | "FAILED" | "KILLED";

/** Runs of experiments on tracking servers that the operator names, and on no others. */
export interface ExperimentTracker {
  /** Begins a run that the task's script goes on with. Throws ExperimentRefused, or Unavailable while nobody answers. */
  begin(order: RunOrder, signal: AbortSignal): Promise<ExperimentRun>;
  /** Ends the run unless the script did; throws as begin does. */
  finish(
    server: TrackingServer,
    runId: string,
    status: RunStatus,
    credentials: TrackingCredentials,
    signal: AbortSignal,
  ): Promise<void>;
}
