import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Unavailable } from "#server/domain/errors.ts";
import type { SpanRecord } from "#server/domain/ports/telemetry.ts";
import type { Task } from "#server/domain/task.ts";
import { ApplicationBench, CALLER } from "../support/application-bench.ts";
import { CollectingTelemetry } from "../support/fakes/collecting-telemetry.ts";
import { SAMPLE_SPEC } from "../support/sample-task.ts";

const TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER_SPAN = "00f067aa0ba902b7";
const WAITING = { code: "import time; time.sleep(3600)", timeoutMillis: 3_600_000 };

const isRunning = (task: Task) => task.state === "RUNNING";

/** Name, attempt and times: what record and spans must say alike. */
function outline(stages: Task["stages"]): string[] {
  return stages
    .map(({ name, attempt, startTime, endTime }) => `${name} ${attempt} ${+startTime} ${endTime && +endTime}`)
    .sort();
}

function outlineOf(spans: readonly SpanRecord[]): string[] {
  return spans
    .map(({ name, attributes, startMicros, endMicros }) =>
      [name, attributes["longshore.attempt"], startMicros / 1000, endMicros / 1000].join(" "),
    )
    .sort();
}

function stageSpans(telemetry: CollectingTelemetry, task: Task): SpanRecord[] {
  return telemetry.spans.filter((span) => span.traceId === task.traceId && span.name !== "task");
}

/** Every stage of the record is one span under the task's, and nothing else is. */
function assertWhole(telemetry: CollectingTelemetry, task: Task): SpanRecord {
  const spans = stageSpans(telemetry, task);
  assert.deepEqual(outlineOf(spans), outline(task.stages));
  for (const span of spans) assert.equal(span.parentSpanId, task.rootSpanId, span.name);
  const [root, ...more] = telemetry.named("task").filter(({ traceId }) => traceId === task.traceId);
  assert.ok(root !== undefined);
  assert.deepEqual(more, []);
  return root;
}

describe("the trace of a task", () => {
  test("continues the caller's, and holds every stage with the record's times", async () => {
    const telemetry = new CollectingTelemetry();
    await using bench = await ApplicationBench.open({ telemetry });
    const caller = { ...CALLER, traceparent: `00-${TRACE_ID}-${CALLER_SPAN}-01` };
    const resources = { cpu: "0.5", gpu: "", ram: "128MB", storage: "", gpuModel: "" };
    const spec = { ...SAMPLE_SPEC, requestId: "", labels: {}, code: "print(1)", resources };
    const { id } = await bench.application.createTask(caller, { spec, secrets: {}, violations: [] });
    const task = await bench.finished(id);
    const root = assertWhole(telemetry, task);
    assert.equal(root.traceId, TRACE_ID);
    assert.equal(root.parentSpanId, CALLER_SPAN);
    assert.equal(root.endMicros / 1000, +(task.endTime ?? 0));
    const { attributes } = root;
    assert.equal(attributes["longshore.task.id"], id);
    assert.equal(attributes["longshore.owner"], "owner");
    assert.equal(attributes["longshore.requested.ram"], "128MB");
    assert.equal(attributes["longshore.requested.storage"], undefined);
    assert.equal(attributes["longshore.limits.ram_bytes"], 128 * 2 ** 20);
    assert.equal(attributes["longshore.pool.hit"], false);
    assert.equal(attributes["longshore.reason"], "EXITED");
    assert.equal(attributes["longshore.log.bytes"], 2);
    assert.deepEqual(
      telemetry.spans.filter(({ error }) => error !== ""),
      [],
    );
  });

  test("names the failure where it happened, also when its output was collected after it", async () => {
    const telemetry = new CollectingTelemetry();
    await using bench = await ApplicationBench.open({ telemetry });
    const code = "open('out', 'w').write('x' * 100000); raise SystemExit(3)";
    const { id } = await bench.create({ code, outputs: ["out"] });
    const task = await bench.finished(id);
    const root = assertWhole(telemetry, task);
    const [run] = telemetry.named("run");
    for (const span of [root, run]) {
      assert.equal(span?.error, task.result?.message);
      assert.equal(span?.attributes["longshore.exit_code"], 3);
    }
    assert.equal(telemetry.named("collect")[0]?.error, "");
  });

  test("tells of a cancellation and of attempts that failed as events", async () => {
    const telemetry = new CollectingTelemetry();
    await using bench = await ApplicationBench.open({ telemetry });
    bench.engine.failNext("create", new Unavailable("the engine is away"));
    const { id } = await bench.create(WAITING);
    await bench.until(id, isRunning);
    await bench.application.cancelTask(CALLER, id, "enough", 0);
    const task = await bench.finished(id);
    const root = assertWhole(telemetry, task);
    assert.deepEqual(
      root.events.map(({ name, micros }) => [name, micros / 1000]),
      [
        ["attempt failed", +(task.attempts[0]?.endTime ?? 0)],
        ["cancel requested", +(task.cancellation?.time ?? 0)],
      ],
    );
    assert.equal(root.attributes["longshore.attempts"], 2);
  });

  test("is whole after a restart, whatever the killed server had not sent", async () => {
    const telemetry = new CollectingTelemetry();
    await using bench = await ApplicationBench.open({ telemetry });
    const ended = await bench.create({ code: "print(1)" });
    await bench.finished(ended.id);
    const running = await bench.create(WAITING);
    await bench.until(running.id, isRunning);
    await bench.stop();
    const after = new CollectingTelemetry();
    await bench.start({ telemetry: after });
    await bench.application.cancelTask(CALLER, running.id, "", 0);
    assertWhole(after, await bench.finished(running.id));
    assertWhole(after, await bench.finished(ended.id));
  });

  test("costs nothing where nobody listens", async () => {
    const told: SpanRecord[] = [];
    const telemetry = {
      tracing: false,
      record: (span: SpanRecord) => told.push(span),
      close: async () => undefined,
    };
    await using bench = await ApplicationBench.open({ telemetry });
    await bench.finished((await bench.create({ code: "print(1)" })).id);
    assert.deepEqual(told, []);
  });
});

describe("log lines of a task", () => {
  test("carry its id and that of its trace", async () => {
    await using bench = await ApplicationBench.open();
    const task = await bench.create({ code: "print(1)" });
    await bench.finished(task.id);
    for (const message of ["task created", "attempt ended"]) {
      const line = bench.log.lines.find((one) => one.includes(message));
      assert.ok(line?.includes(task.id) && line.includes(task.traceId), line ?? message);
    }
  });
});
