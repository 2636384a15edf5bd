import type { RunnerEnd } from "../domain/journal.ts";
import type { SandboxExit } from "../domain/ports/engine.ts";
import type { Stage } from "../domain/task.ts";
import type { ServerKill } from "../domain/verdict.ts";
import type { AttemptLog } from "./attempt-log.ts";
import type { AttemptSpans } from "./attempt-spans.ts";

/** Beyond the runner's own deadline: what it may need to kill, drain and collect before the server loses patience. */
export const BACKSTOP_SLACK_MILLIS = 5_000;

/** What following an attempt to its end has shown. */
export interface AttemptEnd {
  /** When the server knew of it. */
  readonly time: Date;
  readonly end: RunnerEnd | null;
  readonly exit: SandboxExit | null;
  readonly kill: ServerKill | null;
  readonly damage: string;
  /** The runner took its spec: from there on the user's code may have run. */
  readonly accepted: boolean;
  readonly runTime: Date | null;
  /** Stages that were seen but not committed yet. */
  readonly stages: readonly Stage[];
  readonly log: AttemptLog;
  readonly spans: AttemptSpans;
}
