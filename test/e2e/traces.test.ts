/** What somebody sees who looks at a task's trace in a real Jaeger. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Longshore, stageName } from "@longshore/client";
import type { Stage, Task } from "@longshore/proto/longshore/v1/task";
import { z } from "zod";
import { openTelemetry } from "#server/adapters/telemetry/telemetry.ts";
import { zip } from "../fixtures/archives/raw-zip.ts";
import { activeContexts, type CallerSpan, within } from "../support/context-manager.ts";
import { CollectingLog } from "../support/fakes/collecting-log.ts";
import { Jaeger, type JaegerSpan, whyNoJaeger } from "../support/jaeger.ts";
import { type RunningServer, startServer, whyNoServer } from "../support/running-server.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";

const PYTHON_PACKAGE = fileURLToPath(new URL("../../clients/python/src", import.meta.url));
const python = process.env.LONGSHORE_TEST_PYTHON ?? "";
const noPython = python === "" && "LONGSHORE_TEST_PYTHON names no Python with the client's packages";

/** As docs/observability.md has it. */
const HELPER = 'import sys; sys.path.append("/longshore/runner/lib")\nfrom longshore_tracing import span';

const PROJECT = zip([
  {
    name: "main.py",
    content: `
${HELPER}
with span("train", epochs=2) as training:
    for epoch in range(2):
        with span("epoch", number=epoch):
            print("epoch", epoch, flush=True)
open("model.txt", "w").write("weights")
`,
  },
]);

/** Submits a zip under a span of its own and prints where to find what came of it. */
const PYTHON_CALLER = `
import json, sys, longshore
from opentelemetry.sdk.trace import TracerProvider
with TracerProvider().get_tracer("test").start_as_current_span("caller") as span:
    with longshore.Client(sys.argv[1]) as client:
        task = client.run(sys.argv[2], outputs=["model.txt"])
ids = span.get_span_context()
print(json.dumps({"traceId": "%032x" % ids.trace_id, "spanId": "%016x" % ids.span_id, "id": task.id}))
`;
const called = z.object({ traceId: z.string(), spanId: z.string(), id: z.string() });

function newCaller(): CallerSpan {
  return { traceId: randomBytes(16).toString("hex"), spanId: randomBytes(8).toString("hex") };
}

/** The record once its sandbox is gone, which no event tells of. */
async function finished(client: Longshore, id: string, signal: AbortSignal): Promise<Task> {
  for (;;) {
    const task = await client.task(id).get({ signal });
    const cleaned = task.stages.filter((stage) => stageName(stage.name) === "cleanup" && stage.endTime);
    if (task.endTime !== undefined && cleaned.length === task.attempts.length) return task;
    await delay(50, undefined, { signal });
  }
}

const micros = (time: Date | undefined) => (time?.getTime() ?? Number.NaN) * 1000;
const tag = (span: JaegerSpan | undefined, key: string) => span?.tags.find((one) => one.key === key)?.value;
const parentOf = (span: JaegerSpan | undefined) => span?.references.map(({ spanID }) => spanID).join();

function only(spans: readonly JaegerSpan[], name: string): JaegerSpan {
  const [found, ...more] = spans.filter(({ operationName }) => operationName === name);
  assert.ok(found !== undefined && more.length === 0, `${more.length + 1} spans ${name}`);
  return found;
}

/** Every stage is one span below the task's, with the record's times, and the task's is below the caller's. */
function assertTrace(spans: readonly JaegerSpan[], task: Task, caller: CallerSpan): void {
  assert.deepEqual(new Set(spans.map(({ traceID }) => traceID)), new Set([caller.traceId]));
  // Jaeger is surprised by a child that outlives its parent, and a task has ended before its sandbox is removed.
  const others = spans.filter(({ operationName }) => operationName !== "cleanup");
  assert.deepEqual(
    others.flatMap(({ operationName, warnings }) =>
      (warnings ?? []).map((text) => `${operationName}: ${text}`),
    ),
    [],
  );
  const root = only(spans, "caller");
  assert.equal(root.spanID, caller.spanId);
  assert.deepEqual(root.references, []);
  const whole = only(spans, "task");
  assert.equal(parentOf(whole), caller.spanId);
  assert.equal(tag(whole, "longshore.task.id"), task.id);
  assert.equal(whole.startTime + whole.duration, micros(task.endTime));
  const outlineOf = (name: string, start: number, end: number) => `${name} ${start} ${end}`;
  const stages = spans.filter((span) => parentOf(span) === whole.spanID);
  assert.deepEqual(
    stages
      .map((span) => outlineOf(span.operationName, span.startTime, span.startTime + span.duration))
      .sort(),
    task.stages
      .map((stage: Stage) => outlineOf(stageName(stage.name), micros(stage.startTime), micros(stage.endTime)))
      .sort(),
  );
}

/** The project's own spans lie below `run`, and within it. */
function assertOwnSpans(spans: readonly JaegerSpan[]): void {
  const run = only(spans, "run");
  const train = only(spans, "train");
  assert.equal(parentOf(train), run.spanID);
  assert.equal(tag(train, "epochs"), 2);
  assert.ok(train.startTime >= run.startTime);
  assert.ok(train.startTime + train.duration <= run.startTime + run.duration);
  const epochs = spans.filter(({ operationName }) => operationName === "epoch");
  assert.deepEqual(epochs.map(parentOf), [train.spanID, train.spanID]);
}

const whole = (count: number) => (spans: readonly JaegerSpan[]) => spans.length >= count;

describe("in Jaeger", {
  skip: (await whyNoServer()) ?? whyNoJaeger() ?? false,
  timeout: 120_000,
}, () => {
  let jaeger: Jaeger;
  let server: RunningServer;
  let client: Longshore;
  let contexts: Disposable;

  before(async () => {
    contexts = activeContexts();
    jaeger = await Jaeger.start(AbortSignal.timeout(30_000));
    server = await startServer({ OTEL_EXPORTER_OTLP_ENDPOINT: jaeger.endpoint });
    client = new Longshore(server.address);
  });

  after(async () => {
    client?.close();
    await server?.[Symbol.asyncDispose]();
    await jaeger?.[Symbol.asyncDispose]();
    contexts[Symbol.dispose]();
  });

  /** What a caller's own OpenTelemetry would send. */
  async function tellOf(caller: CallerSpan, task: Task): Promise<void> {
    const env = { OTEL_EXPORTER_OTLP_ENDPOINT: jaeger.endpoint, OTEL_SERVICE_NAME: "caller" };
    const telemetry = openTelemetry({ serviceVersion: "1", env, log: new CollectingLog() });
    const [startMicros, endMicros] = [micros(task.createTime) - 1_000_000, micros(task.endTime) + 1_000_000];
    const rest = { name: "caller", attributes: {}, events: [], error: "" };
    telemetry.record({ ...caller, parentSpanId: "", startMicros, endMicros, source: "server", ...rest });
    await telemetry.close();
  }

  test("a zipped project from TypeScript is one trace below the caller's span", async (t) => {
    const caller = newCaller();
    const task = await within(caller, () =>
      client.submitStream(
        (async function* () {
          yield PROJECT;
        })(),
        { format: "zip", entrypoint: "main.py", outputs: ["model.txt"] },
      ),
    );
    await task.result();
    const record = await finished(client, task.id, t.signal);
    await tellOf(caller, record);
    const spans = await jaeger.trace(caller.traceId, whole(record.stages.length + 5), t.signal);
    assertTrace(spans, record, caller);
    assertOwnSpans(spans);
    const names = record.stages.map(({ name }) => stageName(name));
    assert.equal(tag(only(spans, "upload"), "longshore.note"), `${PROJECT.length} bytes`);
    for (const name of ["upload", "validate", "queue", "sandbox", "stage_in", "run", "collect", "cleanup"])
      assert.ok(names.includes(name as (typeof names)[number]), name);
  });

  test("and so is one from Python", { skip: noPython }, async (t) => {
    await using folder = await TemporaryFolder.create();
    await writeFile(folder.at("project.zip"), PROJECT);
    const { stdout } = await promisify(execFile)(
      python,
      ["-c", PYTHON_CALLER, server.address, folder.at("project.zip")],
      { env: { ...process.env, PYTHONPATH: join(PYTHON_PACKAGE), PYTHONDONTWRITEBYTECODE: "1" } },
    );
    const { id, ...caller } = called.parse(JSON.parse(stdout.trim().split("\n").at(-1) ?? ""));
    const record = await finished(client, id, t.signal);
    await tellOf(caller, record);
    const spans = await jaeger.trace(caller.traceId, whole(record.stages.length + 5), t.signal);
    assertTrace(spans, record, caller);
    assertOwnSpans(spans);
  });

  test("a task that outlived its server and failed is whole, and says how it failed", async (t) => {
    const caller = newCaller();
    const code = `${HELPER}
import time
with span("before"): pass
print("up", flush=True)
time.sleep(2)
with span("after"): pass
sys.exit(3)
`;
    const task = await within(caller, () => client.submit({ code }, { timeout: "60s" }));
    for await (const _ of task.logs()) break;
    await server.kill();
    await server.start();
    await task.result({ reject: false });
    const record = await finished(client, task.id, t.signal);
    await tellOf(caller, record);
    const spans = await jaeger.trace(caller.traceId, whole(record.stages.length + 4), t.signal);
    assertTrace(spans, record, caller);
    for (const name of ["before", "after"])
      assert.equal(parentOf(only(spans, name)), only(spans, "run").spanID);
    for (const name of ["run", "task"]) {
      const span = only(spans, name);
      assert.equal(tag(span, "error"), true, name);
      assert.equal(tag(span, "longshore.exit_code"), 3);
      assert.equal(tag(span, "otel.status_description"), record.result?.message);
    }
  });
});
