import assert from "node:assert/strict";
import { MlflowTracker } from "#server/adapters/mlflow/mlflow-tracker.ts";
import { FakeTracker } from "../support/fakes/fake-tracker.ts";
import { MlflowServer, mlflowMissing } from "../support/mlflow-server.ts";
import { NeighbourHost } from "../support/neighbour-host.ts";
import { outsideMissing } from "../support/outside-network.ts";
import { experimentTrackerContract } from "./experiment-tracker.ts";

experimentTrackerContract("the fake in memory", async () => {
  const tracker = new FakeTracker();
  return {
    tracker,
    server: { name: "experiments", url: "http://10.1.2.3:5000", host: "10.1.2.3", port: 5000 },
    run: async (runId) => {
      const run = tracker.runs.get(runId);
      assert.ok(run !== undefined);
      return { status: run.status, tags: run.order.tags };
    },
    [Symbol.asyncDispose]: async () => undefined,
  };
});

experimentTrackerContract(
  "a real MLflow server",
  async () => {
    const stack = new AsyncDisposableStack();
    const server = stack.use(await MlflowServer.start(stack.use(await NeighbourHost.create())));
    return {
      tracker: new MlflowTracker(() => new Date()),
      server: server.tracking,
      run: (runId) => server.run(runId),
      [Symbol.asyncDispose]: () => stack.disposeAsync(),
    };
  },
  { skip: mlflowMissing || (await outsideMissing()) },
);
