import { setTimeout as delay } from "node:timers/promises";
import { ExperimentRefused, Unavailable } from "../domain/errors.ts";
import type { Policy } from "../domain/policy.ts";
import type {
  ExperimentTracker,
  RunStatus,
  TrackingCredentials,
} from "../domain/ports/experiment-tracker.ts";
import type { SecretBox } from "../domain/ports/secret-box.ts";
import type { Log } from "../domain/ports/telemetry.ts";
import type { Attempt, ExperimentRun, Task } from "../domain/task.ts";
import { namedServerOf } from "../domain/tracking.ts";
import { factsOf } from "./log-facts.ts";

/** A tracking server that is being restarted is back within these. */
const RETRY_MILLIS = [500, 2000, 5000] as const;
const FINISH_MILLIS = 10_000;

export interface ExperimentRunsDeps {
  readonly tracker: ExperimentTracker;
  readonly secretBox: SecretBox;
  readonly policy: Policy;
  readonly log: Log;
}

/** The run on its tracking server that each attempt of a task with an experiment has. */
export class ExperimentRuns {
  readonly #deps: ExperimentRunsDeps;

  constructor(deps: ExperimentRunsDeps) {
    this.#deps = deps;
  }

  /** Null without an experiment, and for one whose server is not the operator's: this server calls no address of a client's. */
  async begin(task: Task, attempt: number, signal: AbortSignal): Promise<ExperimentRun | null> {
    const { experiment, displayName } = task.spec;
    const server = namedServerOf(task.spec, this.#deps.policy);
    if (experiment === null || server === undefined) return null;
    const order = {
      server,
      experiment: experiment.name,
      runName: displayName === "" ? task.id : displayName,
      user: task.owner,
      tags: {
        "longshore.task_id": task.id,
        "longshore.attempt": String(attempt),
        "longshore.trace_id": task.traceId,
      },
      credentials: this.#credentials(task),
    };
    for (let tries = 0; ; tries += 1) {
      try {
        return await this.#deps.tracker.begin(order, signal);
      } catch (error) {
        if (!(error instanceof Unavailable)) throw error;
        const millis = RETRY_MILLIS[tries];
        if (millis === undefined)
          throw new ExperimentRefused(`${error.message}; the task was not started`, "UNAVAILABLE");
        await delay(millis, undefined, { signal });
      }
    }
  }

  /**
   * Ends the attempt's run unless the script did. Whatever keeps it from that is noted and not tried again, for the task has ended
   * well or ill without it; rejects on abort alone.
   */
  async finish(task: Task, attempt: Attempt, signal: AbortSignal): Promise<void> {
    const server = namedServerOf(task.spec, this.#deps.policy);
    const { experimentRun: run } = attempt;
    if (run === null || server === undefined) return;
    const limited = AbortSignal.any([signal, AbortSignal.timeout(FINISH_MILLIS)]);
    try {
      const credentials = this.#credentials(task);
      await this.#deps.tracker.finish(server, run.runId, statusOf(attempt), credentials, limited);
    } catch (error) {
      signal.throwIfAborted();
      this.#deps.log.warn("a run could not be ended on its tracking server", {
        ...factsOf(task),
        run: run.url,
        error: String(error),
      });
    }
  }

  /** The names are MLflow's own, so that the script signs in with the same. */
  #credentials({ spec }: Task): TrackingCredentials {
    const read = (name: string): string => {
      const sealed = spec.secretEnv[name];
      return sealed === undefined ? (spec.env[name] ?? "") : this.#deps.secretBox.open(name, sealed);
    };
    return {
      username: read("MLFLOW_TRACKING_USERNAME"),
      password: read("MLFLOW_TRACKING_PASSWORD"),
      token: read("MLFLOW_TRACKING_TOKEN"),
    };
  }
}

function statusOf({ result }: Attempt): RunStatus {
  if (result?.reason === "EXITED" && result.exitCode === 0) return "FINISHED";
  return result === null || result.reason === "CANCELLED" ? "KILLED" : "FAILED";
}
