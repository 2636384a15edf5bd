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
const FINISH_MILLIS = 30_000;
const CLOSE_MILLIS = 2_000;

export interface ExperimentRunsDeps {
  readonly tracker: ExperimentTracker;
  readonly secretBox: SecretBox;
  readonly policy: Policy;
  readonly log: Log;
}

/** The run on its tracking server that each attempt of a task with an experiment has. */
export class ExperimentRuns {
  readonly #deps: ExperimentRunsDeps;
  readonly #work = new Set<Promise<void>>();
  readonly #closing = new AbortController();

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
    for (const millis of [...RETRY_MILLIS, null]) {
      try {
        return await this.#deps.tracker.begin(order, signal);
      } catch (error) {
        if (!(error instanceof Unavailable)) throw error;
        if (millis === null)
          throw new ExperimentRefused(`${error.message}; the task was not started`, "UNAVAILABLE");
      }
      await delay(millis, undefined, { signal });
    }
    return null;
  }

  /** Off the path of the task's answer: a script that ended well has ended its run itself. */
  finishLater(task: Task, attempt: Attempt): void {
    const server = namedServerOf(task.spec, this.#deps.policy);
    const { experimentRun: run } = attempt;
    if (run === null || server === undefined) return;
    const signal = AbortSignal.any([this.#closing.signal, AbortSignal.timeout(FINISH_MILLIS)]);
    const work = this.#deps.tracker
      .finish(server, run.runId, statusOf(attempt), this.#credentials(task), signal)
      .catch((error: unknown) =>
        this.#deps.log.warn("a run could not be ended on its tracking server", {
          ...factsOf(task),
          run: run.url,
          error: String(error),
        }),
      )
      .finally(() => this.#work.delete(work));
    this.#work.add(work);
  }

  /** Gives runs that are being ended a moment. */
  async close(): Promise<void> {
    const patience = setTimeout(() => this.#closing.abort(), CLOSE_MILLIS);
    await Promise.allSettled(this.#work);
    clearTimeout(patience);
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
