import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ExperimentRefused } from "#server/domain/errors.ts";
import type { ExperimentTracker, RunOrder, RunStatus } from "#server/domain/ports/experiment-tracker.ts";
import type { TrackingServer } from "#server/domain/tracking.ts";

export interface OpenTracker extends AsyncDisposable {
  readonly tracker: ExperimentTracker;
  readonly server: TrackingServer;
  /** As the tracking server has it. */
  run(runId: string): Promise<{ status: string; tags: Readonly<Record<string, string | number>> }>;
}

const credentials = { username: "", password: "", token: "" };
const signal = () => AbortSignal.timeout(60_000);

/** What every tracker of experiments does. */
export function experimentTrackerContract(
  name: string,
  open: () => Promise<OpenTracker>,
  options: { readonly skip?: string | false } = {},
): void {
  describe(`tracker of experiments: ${name}`, options, () => {
    let lab: OpenTracker;
    before(async () => {
      lab = await open();
    });
    after(async () => {
      await lab?.[Symbol.asyncDispose]();
    });

    const order = (changes: Partial<RunOrder> = {}): RunOrder => ({
      server: lab.server,
      experiment: "atena test/ü",
      runName: "train.py",
      user: "ana",
      tags: { "longshore.task_id": "01J" },
      credentials,
      ...changes,
    });
    const finish = (runId: string, status: RunStatus) =>
      lab.tracker.finish(lab.server, runId, status, credentials, signal());

    test("begins runs of one experiment by its name, each with its tags and its page", async () => {
      const first = await lab.tracker.begin(order(), signal());
      const second = await lab.tracker.begin(order({ tags: { "longshore.task_id": "01K" } }), signal());
      assert.equal(second.experimentId, first.experimentId);
      assert.notEqual(second.runId, first.runId);
      assert.ok(first.url.startsWith(`${lab.server.url}/`) && first.url.includes(first.runId), first.url);
      const seen = await lab.run(first.runId);
      assert.equal(seen.status, "RUNNING");
      assert.equal(seen.tags["longshore.task_id"], "01J");
    });

    test("makes a new experiment once, however many begin with it", async () => {
      const runs = await Promise.all(
        Array.from({ length: 4 }, () => lab.tracker.begin(order({ experiment: "at once" }), signal())),
      );
      assert.equal(new Set(runs.map(({ experimentId }) => experimentId)).size, 1);
      assert.equal(new Set(runs.map(({ runId }) => runId)).size, 4);
    });

    for (const status of ["FINISHED", "FAILED", "KILLED"] as const) {
      test(`ends a run as ${status}, and leaves it alone from then on`, async () => {
        const { runId } = await lab.tracker.begin(order(), signal());
        await finish(runId, status);
        assert.equal((await lab.run(runId)).status, status);
        await finish(runId, status === "FAILED" ? "FINISHED" : "FAILED");
        assert.equal((await lab.run(runId)).status, status);
      });
    }

    test("refuses to end a run that there is not", async () => {
      await assert.rejects(finish("0".repeat(32), "FINISHED"), ExperimentRefused);
    });
  });
}
