/** Experiments over a fake engine and a fake tracking server: what the script is given, and what becomes of each run. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ExperimentRefused, InvalidRequest, NotEnforced, Unavailable } from "#server/domain/errors.ts";
import type { TaskSpec } from "#server/domain/task.ts";
import { ApplicationBench, CALLER } from "../support/application-bench.ts";
import { FakeEngine } from "../support/fakes/fake-engine.ts";
import { FakeTracker } from "../support/fakes/fake-tracker.ts";
import { samplePolicy } from "../support/sample-policy.ts";

const server = { name: "experiments", url: "http://10.1.2.3:5000", host: "10.1.2.3", port: 5000 };
const other = { ...server, name: "others", url: "http://10.1.2.4:5000", host: "10.1.2.4" };
const policy = samplePolicy({
  trackingServers: new Map([
    [server.name, server],
    [other.name, other],
  ]),
});
const trackers = new Map([
  ["experiments", ""],
  ["others", "its name cannot be looked up"],
]);
const SHOW = `import os
for name in sorted(os.environ):
    if name.startswith("MLFLOW_"): print(name + "=" + os.environ[name])`;

async function open() {
  const stack = new AsyncDisposableStack();
  const tracker = new FakeTracker();
  const engine = stack.use(new FakeEngine({ trackers }));
  const bench = stack.use(await ApplicationBench.open({ engines: [engine], policy, tracker }));
  const create = (changes: Partial<TaskSpec> = {}) =>
    bench.create({ code: SHOW, experiment: { trackingUri: "experiments", name: "atena_test" }, ...changes });
  return { bench, engine, tracker, create, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

describe("a task with an experiment", () => {
  test("finds its run begun, and its record leads there", async () => {
    await using lab = await open();
    const env = { MLFLOW_TRACKING_USERNAME: "ana" };
    const task = await lab.create({
      displayName: "train.py",
      env,
      secretEnv: { MLFLOW_TRACKING_PASSWORD: "p" },
    });
    const ended = await lab.bench.finished(task.id);
    const [attempt] = ended.attempts;
    assert.equal(ended.network, "TRACKING");
    assert.deepEqual(ended.result?.stdoutTail.trim().split("\n"), [
      "MLFLOW_DISABLE_TELEMETRY=true",
      "MLFLOW_EXPERIMENT_NAME=atena_test",
      `MLFLOW_RUN_ID=${attempt?.experimentRun?.runId}`,
      "MLFLOW_TRACKING_PASSWORD=p",
      "MLFLOW_TRACKING_URI=http://10.1.2.3:5000",
      "MLFLOW_TRACKING_USERNAME=ana",
    ]);
    await lab.bench.stop();
    const run = lab.tracker.runs.get(attempt?.experimentRun?.runId ?? "");
    assert.deepEqual(run?.order.credentials, { username: "ana", password: "p", token: "" });
    assert.deepEqual(run?.order.tags, {
      "longshore.task_id": task.id,
      "longshore.attempt": "1",
      "longshore.trace_id": task.traceId,
    });
    assert.equal(run?.order.runName, "train.py");
    assert.equal(run?.status, "FINISHED");
    assert.match(attempt?.experimentRun?.url ?? "", /^http:\/\/10\.1\.2\.3:5000\/#\/experiments\/1\/runs\//);
  });

  for (const [how, code, status] of [
    ["fails", "raise SystemExit(3)", "FAILED"],
    ["is cancelled", "import time; print('up', flush=True); time.sleep(60)", "KILLED"],
  ] as const) {
    test(`that ${how} leaves no run that seems to go on`, async () => {
      await using lab = await open();
      const task = await lab.create({ code });
      if (status === "KILLED") {
        await lab.bench.until(task.id, ({ state }) => state === "RUNNING");
        await lab.bench.application.cancelTask(CALLER, task.id, "", 0);
      }
      await lab.bench.finished(task.id);
      const [run] = lab.tracker.runs.values();
      await lab.bench.stop();
      assert.equal(run?.status, status);
    });
  }

  test("whose server is restarted before its run could be ended has it ended by the next", async () => {
    await using lab = await open();
    const task = await lab.create({ code: "import time; print('up', flush=True); time.sleep(60)" });
    await lab.bench.until(task.id, ({ state }) => state === "RUNNING");
    await lab.bench.stop();
    const [run] = lab.tracker.runs.values();
    assert.equal(run?.status, "RUNNING");
    await lab.bench.start({ engines: [lab.engine], policy, tracker: lab.tracker });
    await lab.bench.application.cancelTask(CALLER, task.id, "", 0);
    await lab.bench.finished(task.id);
    assert.equal(run?.status, "KILLED");
  });

  test("waits for a tracking server that is away for a moment", async () => {
    await using lab = await open();
    lab.tracker.failNext(new Unavailable("tracking server experiments does not answer"));
    const ended = await lab.bench.finished((await lab.create()).id);
    assert.equal(ended.state, "SUCCEEDED");
    assert.equal(lab.tracker.runs.size, 1);
  });

  test("that gets no run ends before it has run, with what to do, and is charged nothing", async () => {
    await using lab = await open();
    lab.tracker.failNext(new ExperimentRefused('experiment "atena_test" was deleted; restore it', "DELETED"));
    const ended = await lab.bench.finished((await lab.create()).id);
    assert.equal(ended.state, "FAILED");
    assert.equal(ended.result?.reason, "INPUT_FAILED");
    assert.match(ended.result?.message ?? "", /was deleted; restore it/);
    assert.equal(ended.attempts.length, 0);
    assert.equal(ended.startTime, null);
  });

  test("whose sandbox cannot be given the way ends as well, and is not tried again", async () => {
    await using lab = await open();
    lab.engine.failNext(
      "create",
      new ExperimentRefused("mlflow.example has no public address", "NOT_PUBLIC"),
    );
    const ended = await lab.bench.finished((await lab.create({ maxAttempts: 3 })).id);
    assert.deepEqual([ended.result?.reason, ended.attempts.length], ["INPUT_FAILED", 1]);
    assert.match(ended.result?.message ?? "", /no public address/);
    assert.deepEqual([ended.startTime, ended.attempts[0]?.usage?.chargedMillis], [null, 0]);
    await lab.bench.stop();
    assert.equal([...lab.tracker.runs.values()][0]?.status, "FAILED");
  });

  test("is refused where the engine does not reach the tracking server, with the reason", async () => {
    await using lab = await open();
    const experiment = { trackingUri: "others", name: "e" };
    await assert.rejects(lab.create({ experiment }), (error) => {
      assert.ok(error instanceof NotEnforced);
      assert.match(error.message, /does not reach tracking server others: its name cannot be looked up/);
      return true;
    });
    await using plain = await ApplicationBench.open({ policy });
    const asked = plain.create({ experiment: { trackingUri: "experiments", name: "e" } });
    await assert.rejects(asked, NotEnforced);
  });

  test("at an address of the client's own is given the variables, and the server calls nobody", async () => {
    await using lab = await open();
    const experiment = { trackingUri: "https://mlflow.example/", name: "e" };
    await assert.rejects(lab.create({ experiment }), InvalidRequest);
    const ended = await lab.bench.finished((await lab.create({ experiment, network: "EGRESS" })).id);
    assert.match(ended.result?.stdoutTail ?? "", /MLFLOW_TRACKING_URI=https:\/\/mlflow\.example\//);
    assert.equal(ended.attempts[0]?.experimentRun, null);
    assert.equal(lab.tracker.runs.size, 0);
  });
});
