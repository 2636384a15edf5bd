import { randomBytes } from "node:crypto";
import { ExperimentRefused } from "#server/domain/errors.ts";
import type { ExperimentTracker, RunOrder, RunStatus } from "#server/domain/ports/experiment-tracker.ts";
import type { ExperimentRun } from "#server/domain/task.ts";
import type { TrackingServer } from "#server/domain/tracking.ts";

export interface FakeRun {
  readonly order: RunOrder;
  status: "RUNNING" | RunStatus;
}

/** Tracking servers in memory: each experiment is numbered by its name, each run ends once. */
export class FakeTracker implements ExperimentTracker {
  readonly runs = new Map<string, FakeRun>();
  readonly #experiments = new Map<string, string>();
  readonly #failures: Error[] = [];

  /** The next call rejects with `error`. */
  failNext(error: Error): void {
    this.#failures.push(error);
  }

  async begin(order: RunOrder): Promise<ExperimentRun> {
    this.#fail();
    const key = `${order.server.url} ${order.experiment}`;
    const experimentId = this.#experiments.get(key) ?? String(this.#experiments.size + 1);
    this.#experiments.set(key, experimentId);
    const runId = randomBytes(16).toString("hex");
    this.runs.set(runId, { order, status: "RUNNING" });
    return { experimentId, runId, url: `${order.server.url}/#/experiments/${experimentId}/runs/${runId}` };
  }

  async finish(_: TrackingServer, runId: string, status: RunStatus): Promise<void> {
    this.#fail();
    const run = this.runs.get(runId);
    if (run === undefined) throw new ExperimentRefused(`there is no run ${runId}`, "RESOURCE_DOES_NOT_EXIST");
    if (run.status === "RUNNING") run.status = status;
  }

  #fail(): void {
    const failure = this.#failures.shift();
    if (failure !== undefined) throw failure;
  }
}
