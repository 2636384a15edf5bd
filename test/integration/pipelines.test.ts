/** Tasks that wait for tasks, through the whole application over a fake engine that really runs them. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { describe, test } from "node:test";
import { InvalidRequest, RequestIdReused, WrongState } from "#server/domain/errors.ts";
import { ApplicationBench, CALLER } from "../support/application-bench.ts";
import { unread } from "../support/harbour.ts";
import { SAMPLE_SPEC, sampleId } from "../support/sample-task.ts";

const WAITING = { code: "import time; time.sleep(3600)", timeoutMillis: 3_600_000 };
const HELLO = { code: "print('hello')" };
const resources = { cpu: "0.1", gpu: "", ram: "64MB", storage: "64MB", gpuModel: "" };
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

async function fieldsRefused(request: Promise<unknown>): Promise<string[]> {
  try {
    await request;
  } catch (error) {
    assert.ok(error instanceof InvalidRequest, String(error));
    return error.violations.map(({ field }) => field);
  }
  throw new Error("was taken");
}

describe("a pipeline", () => {
  test("starts each task when those before it have succeeded, and says meanwhile what it waits for", async () => {
    await using bench = await ApplicationBench.open();
    const first = await bench.create({ code: "import sys; sys.stdin.read()", resources });
    const second = await bench.create({ ...HELLO, resources, dependsOn: [first.id] });
    const third = await bench.create({ ...HELLO, resources, dependsOn: [second.id, first.id] });
    assert.equal((await bench.application.getTask(CALLER, second.id)).wait?.kind, "DEPENDENCY");
    const ended = await bench.finished(third.id);
    assert.equal(ended.state, "SUCCEEDED");
    const before = await bench.finished(second.id);
    assert.ok((before.endTime ?? 0) <= (ended.startTime ?? 0));
  });

  test("ends with its first failure, transitively, charging nothing, also over a restart", async () => {
    await using bench = await ApplicationBench.open();
    const first = await bench.create({ ...WAITING, resources });
    const second = await bench.create({ ...HELLO, resources, dependsOn: [first.id] });
    const third = await bench.create({ ...HELLO, resources, dependsOn: [second.id] });
    await bench.until(first.id, ({ state }) => state === "RUNNING");
    await bench.stop();
    await bench.start();
    assert.equal((await bench.application.getTask(CALLER, third.id)).wait?.kind, "DEPENDENCY");
    await bench.application.cancelTask(CALLER, first.id, "", 0);
    const ended = await bench.finished(third.id);
    assert.deepEqual([ended.state, ended.result?.reason], ["FAILED", "DEPENDENCY_FAILED"]);
    assert.equal(
      ended.result?.message,
      `task ${second.id}, which it depends on, did not start: task ${first.id}, which it depends on, was cancelled: cancelled by a client`,
    );
    assert.deepEqual(ended.attempts, []);
    assert.ok(ended.stages.every((stage) => stage.endTime !== null));
    const again = bench.create({ ...HELLO, resources, dependsOn: [second.id, "01AAAAAAAAAAAAAAAAAAAAAAAA"] });
    assert.deepEqual(await fieldsRefused(again), ["depends_on[0]", "depends_on[1]"]);
    await bench.finished(first.id);
  });

  test("that cannot start is refused before its project is sent", async () => {
    await using bench = await ApplicationBench.open();
    const dependsOn = ["01AAAAAAAAAAAAAAAAAAAAAAAA"];
    const spec = { ...SAMPLE_SPEC, code: "", entrypoint: "main.py", resources, dependsOn, requestId: "r" };
    const header = { sha256: "a".repeat(64), sizeBytes: 0, offsetBytes: 0, format: null };
    const request = { spec, secrets: {}, violations: [] };
    const signal = AbortSignal.timeout(30_000);
    const submitted = bench.application.submitTask(CALLER, request, header, unread(), signal);
    assert.deepEqual(await fieldsRefused(submitted), ["depends_on[0]"]);
    const many = Array.from({ length: 101 }, (_, place) => sampleId(place));
    assert.deepEqual(await fieldsRefused(bench.create({ ...HELLO, resources, dependsOn: many })), [
      "depends_on",
    ]);
  });

  test("cannot be cancelled away under those that wait, nor deleted, nor expire", async () => {
    await using bench = await ApplicationBench.open();
    const done = await bench.create({ ...HELLO, resources, retentionMillis: 1 });
    await bench.finished(done.id);
    const running = await bench.create({ ...WAITING, resources });
    const last = await bench.create({ ...HELLO, resources, dependsOn: [done.id, running.id] });
    await assert.rejects(bench.application.deleteTask(CALLER, done.id), (error) => {
      assert.ok(error instanceof WrongState);
      assert.match(error.message, new RegExp(`is needed by task ${last.id}`));
      return true;
    });
    await bench.stop();
    // The next start sweeps at once.
    await bench.start();
    await turn();
    assert.ok(await bench.database.tasks.get(done.id));
    await bench.application.cancelTask(CALLER, last.id, "", 0);
    await bench.application.deleteTask(CALLER, done.id);
    await bench.application.cancelTask(CALLER, running.id, "", 0);
    await bench.finished(running.id);
  });

  test("is no cycle by way of a repeated request or a rerun", async () => {
    await using bench = await ApplicationBench.open();
    const first = await bench.create({ ...WAITING, resources, requestId: "r1" });
    const itself = bench.create({ ...WAITING, resources, requestId: "r1", dependsOn: [first.id] });
    await assert.rejects(itself, RequestIdReused);
    const second = await bench.create({ ...HELLO, resources, dependsOn: [first.id], requestId: "r2" });
    const same = await bench.create({ ...HELLO, resources, dependsOn: [first.id], requestId: "r2" });
    assert.equal(same.id, second.id);
    const rerun = await bench.application.rerunTask(CALLER, {
      id: first.id,
      requestId: "r3",
      resources: null,
      timeoutMillis: null,
      violations: [],
    });
    assert.deepEqual(rerun.spec.dependsOn, []);
    for (const { id } of [first, rerun]) {
      await bench.application.cancelTask(CALLER, id, "", 0);
      await bench.finished(id);
    }
    assert.equal((await bench.finished(second.id)).result?.reason, "DEPENDENCY_FAILED");
  });

  test("queue_timeout begins when the last dependency has succeeded", async () => {
    await using bench = await ApplicationBench.open();
    const go = bench.folder.at("go");
    const code = "import sys, os, time\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.01)";
    const first = await bench.create({ code, args: [go], timeoutMillis: 3_600_000, resources });
    const hog = await bench.create({ ...WAITING, resources: { ...resources, cpu: "3.9" } });
    const queueTimeoutMillis = 200;
    const second = await bench.create({
      ...HELLO,
      resources,
      queueTimeoutMillis,
      dependsOn: [first.id, hog.id],
    });
    const third = await bench.create({
      ...HELLO,
      resources: { ...resources, cpu: "1" },
      queueTimeoutMillis,
      dependsOn: [first.id],
    });
    await bench.until(hog.id, ({ state }) => state === "RUNNING");
    // Long after the timeout has passed as counted from the creation.
    bench.aheadMillis = 60_000;
    await writeFile(go, "");
    const { endTime } = await bench.finished(first.id);
    const ended = await bench.finished(third.id);
    assert.equal(ended.result?.reason, "QUEUE_TIMED_OUT");
    assert.ok((ended.endTime?.getTime() ?? 0) - (endTime?.getTime() ?? 0) >= queueTimeoutMillis);
    assert.equal((await bench.application.getTask(CALLER, second.id)).state, "QUEUED");
    for (const { id } of [second, hog]) await bench.application.cancelTask(CALLER, id, "", 0);
    await bench.finished(hog.id);
  });

  test("queue_timeout counts from when nothing but its turn holds a task up, total_timeout from its creation", async (context) => {
    context.mock.timers.enable({ apis: ["setTimeout"] });
    await using bench = await ApplicationBench.open();
    const hour = 3_600_000;
    const first = await bench.create({ ...WAITING, resources: { ...resources, cpu: "4" } });
    const patient = { queueTimeoutMillis: hour, resources, dependsOn: [first.id] };
    const waits = await bench.create({ ...HELLO, ...patient });
    const hurried = await bench.create({ ...HELLO, ...patient, totalTimeoutMillis: hour });
    await turn();
    bench.aheadMillis = 2 * hour;
    context.mock.timers.tick(2 * hour);
    const ended = await bench.finished(hurried.id);
    assert.deepEqual([ended.result?.reason, ended.result?.termination?.limit], ["TIMED_OUT", "TOTAL_TIME"]);
    // Whether the first runs yet is for a timer of its own to say.
    const why = `waited longer than its total timeout of 3600 s: waiting for task ${first.id}, which is `;
    assert.ok(ended.result?.message.startsWith(why), ended.result?.message);
    assert.equal((await bench.application.getTask(CALLER, waits.id)).state, "QUEUED");
    const full = await bench.create({ ...HELLO, queueTimeoutMillis: hour, resources });
    await turn();
    bench.aheadMillis = 4 * hour;
    context.mock.timers.tick(2 * hour);
    const late = await bench.finished(full.id);
    assert.deepEqual(
      [late.result?.reason, late.result?.termination?.limit, late.result?.message],
      [
        "QUEUE_TIMED_OUT",
        "QUEUE_TIME",
        "waited longer than its queue timeout of 3600 s: waiting for 0.1 CPU (0 CPU free)",
      ],
    );
  });
});
