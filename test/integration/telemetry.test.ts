import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { createServer, type Server } from "node:net";
import { describe, test } from "node:test";
import { promisify } from "node:util";
import { openTelemetry } from "#server/adapters/telemetry/telemetry.ts";
import { SystemFault } from "#server/domain/errors.ts";
import type { SpanRecord } from "#server/domain/ports/telemetry.ts";
import { CollectingLog } from "../support/fakes/collecting-log.ts";
import { OtlpCollector } from "../support/fakes/otlp-collector.ts";

const span: SpanRecord = {
  source: "server",
  traceId: "0af7651916cd43dd8448eb211c80319c",
  spanId: "b7ad6b7169203331",
  parentSpanId: "00f067aa0ba902b7",
  name: "run",
  startMicros: Date.parse("2026-01-02T03:04:05.678Z") * 1000 + 1,
  endMicros: Date.parse("2026-01-02T03:04:06.789Z") * 1000 + 999,
  attributes: { "longshore.task.id": "01JH", "longshore.warm": true, "longshore.bytes": 2 ** 40, ratio: 0.5 },
  events: [],
  error: "",
};

function open(env: Readonly<Record<string, string | undefined>>, log = new CollectingLog()) {
  return openTelemetry({ serviceVersion: "1.2.3", env, log });
}

const root: SpanRecord = { ...span, spanId: "1".repeat(16), parentSpanId: "", name: "task", attributes: {} };

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  assert.ok(typeof address === "object" && address !== null);
  return address.port;
}

/** A port of this machine on which nobody listens. */
async function deadPort(): Promise<number> {
  const server = createServer();
  const port = await listen(server);
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** What a server does with telemetry, as a process of its own: it must end by itself and silently. */
async function liveAndEnd(endpoint: string, protocol = "grpc"): Promise<void> {
  const module = JSON.stringify(import.meta.resolve("#server/adapters/telemetry/telemetry.ts"));
  const script = `
    const { openTelemetry } = await import(${module});
    const log = { debug() {}, info() {}, warn() {}, error() {} };
    const telemetry = openTelemetry({ serviceVersion: "1", env: process.env, log });
    const span = ${JSON.stringify(span)};
    for (let n = 0; n < 3000; n += 1) telemetry.record(span);
    await telemetry.close();
    telemetry.record(span);
    await telemetry.close();
    process.stdout.write("ended");
  `;
  const { stdout, stderr } = await promisify(execFile)(
    process.execPath,
    ["--unhandled-rejections=strict", "--input-type=module", "--eval", script],
    {
      env: {
        ...process.env,
        OTEL_EXPORTER_OTLP_ENDPOINT: endpoint,
        OTEL_EXPORTER_OTLP_PROTOCOL: protocol,
      },
      timeout: 60_000,
    },
  );
  assert.deepEqual({ stdout, stderr }, { stdout: "ended", stderr: "" });
}

describe("OpenTelemetry", () => {
  test("a span reaches the collector with exactly its ids, parent, times and attributes", async () => {
    await using collector = await OtlpCollector.listen();
    const telemetry = open({ OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint });
    telemetry.record(span);
    telemetry.record(root);
    await telemetry.close();
    const { source: _, startMicros, endMicros, error, ...rest } = span;
    assert.equal(error, "");
    const expected = {
      ...rest,
      startMicros,
      endMicros,
      status: { code: 0, message: "" },
    };
    assert.deepEqual(collector.spans, [
      expected,
      { ...expected, spanId: root.spanId, parentSpanId: "", name: "task", attributes: {} },
    ]);
    const [resource] = collector.resources;
    assert.equal(resource?.["service.name"], "longshore");
    assert.equal(resource?.["service.version"], "1.2.3");
  });

  test("over HTTP it reaches the signal's path below the common endpoint, or the signal's own endpoint", async () => {
    await using collector = await OtlpCollector.listenHttp();
    const own = { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${collector.endpoint}/v1/traces` };
    for (const endpoint of [{ OTEL_EXPORTER_OTLP_ENDPOINT: `${collector.endpoint}/` }, own]) {
      const telemetry = open({ OTEL_EXPORTER_OTLP_PROTOCOL: "http/protobuf", ...endpoint });
      telemetry.record(span);
      await telemetry.close();
    }
    assert.deepEqual(
      collector.spans.map(({ spanId, startMicros }) => [spanId, startMicros]),
      Array(2).fill([span.spanId, span.startMicros]),
    );
  });

  test("events of a span arrive with their times", async () => {
    await using collector = await OtlpCollector.listen();
    const telemetry = open({ OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint });
    const event = { name: "limit reached", micros: span.endMicros, attributes: { "longshore.limit": "RAM" } };
    telemetry.record({ ...span, events: [event] });
    await telemetry.close();
    assert.deepEqual(collector.spans[0]?.events, [event]);
  });

  test("a failed span carries the error as status and as exception", async () => {
    await using collector = await OtlpCollector.listen();
    const telemetry = open({ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: collector.endpoint });
    telemetry.record({ ...span, error: "the image is not there" });
    await telemetry.close();
    const [received] = collector.spans;
    assert.deepEqual(received?.status, { code: 2, message: "the image is not there" });
    assert.deepEqual(received?.events, [
      {
        micros: span.endMicros,
        name: "exception",
        attributes: { "exception.message": "the image is not there" },
      },
    ]);
  });

  test("two servers in one process keep their spans apart", async () => {
    await using first = await OtlpCollector.listen();
    await using second = await OtlpCollector.listen();
    const [one, two] = [first, second].map(({ endpoint }) => open({ OTEL_EXPORTER_OTLP_ENDPOINT: endpoint }));
    one?.record(span);
    two?.record(root);
    await Promise.all([one?.close(), two?.close()]);
    assert.deepEqual(
      [first, second].map((collector) => collector.spans.map(({ name }) => name)),
      [["run"], ["task"]],
    );
  });

  test("nothing is sent unless a collector is configured", async () => {
    await using collector = await OtlpCollector.listen();
    const settings = [
      {},
      { OTEL_TRACES_EXPORTER: "none", OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint },
      { OTEL_SDK_DISABLED: "true", OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint },
      { OTEL_EXPORTER_OTLP_ENDPOINT: "" },
    ];
    for (const env of settings) {
      const telemetry = open(env);
      telemetry.record(span);
      await telemetry.close();
    }
    assert.deepEqual(collector.spans, []);
  });

  test("settings that cannot work are refused at the start, by name", () => {
    const settings: [Record<string, string>, RegExp][] = [
      [{ OTEL_TRACES_EXPORTER: "zipkin" }, /OTEL_TRACES_EXPORTER.*zipkin/],
      [
        { OTEL_TRACES_EXPORTER: "otlp", OTEL_EXPORTER_OTLP_PROTOCOL: "http/json" },
        /http\/json.*OTEL_EXPORTER_OTLP_PROTOCOL=grpc/,
      ],
    ];
    for (const [env, expected] of settings) {
      assert.throws(
        () => open(env),
        (error) => error instanceof SystemFault && expected.test(error.message),
      );
    }
  });

  test("a process whose collector is away records and ends as ever", async () => {
    const endpoint = `http://127.0.0.1:${await deadPort()}`;
    await Promise.all([liveAndEnd(endpoint), liveAndEnd(endpoint, "http/protobuf")]);
  });

  test("a process whose collector never answers records and ends as ever", async () => {
    await using collector = await OtlpCollector.listen({ answers: false });
    await liveAndEnd(collector.endpoint);
    assert.ok(collector.spans.length > 0);
  });

  test("what tasks tell never crowds out what the server tells", async () => {
    await using collector = await OtlpCollector.listen();
    const telemetry = open({ OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint });
    for (let n = 0; n < 20_000; n += 1) telemetry.record({ ...span, source: "task", name: "flood" });
    telemetry.record(span);
    await telemetry.close();
    const names = collector.spans.map(({ name }) => name);
    assert.equal(names.filter((name) => name === "run").length, 1);
    assert.ok(names.length < 20_000);
  });

  test("spans arrive again when the collector comes back", { timeout: 60_000 }, async (context) => {
    const broken = createServer((socket) => socket.destroy());
    const port = await listen(broken);
    const telemetry = open({ OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}` });
    const recording = setInterval(() => telemetry.record(span), 50);
    try {
      await once(broken, "connection", { signal: context.signal });
      await new Promise((resolve) => broken.close(resolve));
      await using collector = await OtlpCollector.listen({ port });
      await collector.arrival(context.signal);
      assert.equal(collector.spans[0]?.spanId, span.spanId);
    } finally {
      clearInterval(recording);
      await telemetry.close();
    }
  });
});
