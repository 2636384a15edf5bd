/** Figures from their making to whoever collects them. */
import assert from "node:assert/strict";
import { createServer } from "node:net";
import { describe, test } from "node:test";
import { openMetrics } from "#server/adapters/telemetry/metrics.ts";
import { prometheusName } from "#server/adapters/telemetry/prometheus-name.ts";
import { NO_RESOURCES } from "#server/domain/capacity.ts";
import { SystemFault } from "#server/domain/errors.ts";
import { METRICS, type MetricDefinition } from "#server/domain/metrics.ts";
import { ApplicationBench } from "../support/application-bench.ts";
import { CollectingLog } from "../support/fakes/collecting-log.ts";
import { OtlpMetricsCollector } from "../support/fakes/otlp-metrics-collector.ts";

const CATALOGUE: Readonly<Record<string, MetricDefinition>> = METRICS;
const small = { cpu: "1", gpu: "", ram: "64MB", storage: "64MB", gpuModel: "" };

function open(env: Record<string, string> = {}, listen?: string) {
  const log = new CollectingLog();
  return openMetrics({ serviceVersion: "1.2.3", env, log, ...(listen !== undefined && { listen }) });
}

describe("what the application counts", () => {
  test("is one task created, started and ended for each, with its reason, and every stage once", async () => {
    await using bench = await ApplicationBench.open();
    const good = await bench.finished((await bench.create({ code: "print('hello')" })).id);
    await bench.finished((await bench.create({ code: "raise SystemExit(3)" })).id);
    const { metrics } = bench;
    assert.equal(metrics.of("longshore.tasks.created").length, 2);
    assert.deepEqual(metrics.of("longshore.tasks.ended"), [
      { labels: { state: "succeeded", reason: "exited" }, value: 1 },
      { labels: { state: "failed", reason: "exited" }, value: 1 },
    ]);
    assert.deepEqual(metrics.of("longshore.attempts.ended")[0]?.labels, { engine: "fake", reason: "exited" });
    assert.deepEqual(metrics.of("longshore.log.written"), [{ labels: {}, value: 6 }]);
    const stages = metrics.figures.filter(({ name }) => name === "longshore.stage.duration");
    for (const { name } of good.stages)
      assert.equal(stages.filter(({ labels }) => labels.stage === name).length, 2, name);
    const starts = metrics.figures.filter(({ name }) => name === "longshore.start.duration");
    assert.deepEqual(
      starts.map(({ labels }) => labels),
      [
        { engine: "fake", pool: "miss" },
        { engine: "fake", pool: "miss" },
      ],
    );
    const calls = metrics.figures.filter(({ name }) => name === "longshore.engine.call.duration");
    for (const call of ["resolve_image", "create", "begin", "release"])
      assert.ok(
        calls.some(({ labels }) => labels.call === call && labels.outcome === "ok"),
        call,
      );
  });

  test("tells a hit of the pool from a miss", async () => {
    await using bench = await ApplicationBench.open();
    const first = await bench.finished((await bench.create({ code: "print(1)" })).id);
    const { isolation, network, limits, attempts } = first;
    const imageDigest = attempts[0]?.imageDigest ?? "";
    await bench.engine.warmUp({ imageDigest, isolation, network, limits, gpuIds: [] });
    assert.deepEqual(bench.metrics.read("longshore.pool.idle.sandboxes"), [
      { labels: { engine: "fake" }, value: 1 },
    ]);
    await bench.finished((await bench.create({ code: "print(1)" })).id);
    const starts = bench.metrics.figures.filter(({ name }) => name === "longshore.start.duration");
    assert.deepEqual(
      starts.map(({ labels }) => labels.pool),
      ["miss", "hit"],
    );
  });

  test("is what waits, for what and for how long, and what is held", async () => {
    await using bench = await ApplicationBench.open();
    bench.engine.setForeign({ resources: { ...NO_RESOURCES, cpuMillis: 3500 }, gpuIds: [] });
    await new Promise((resolve) => setImmediate(resolve));
    const task = await bench.create({ code: "print(1)", resources: small });
    await new Promise((resolve) => setImmediate(resolve));
    const { metrics } = bench;
    const waiting = () => metrics.read("longshore.queue.depth").filter(({ value }) => value > 0);
    assert.deepEqual(waiting(), [{ labels: { wait: "capacity", limit: "cpu" }, value: 1 }]);
    bench.aheadMillis = 60_000;
    const [oldest] = metrics.read("longshore.queue.oldest.age");
    assert.ok(oldest !== undefined && oldest.value >= 60, `the oldest waits for ${oldest?.value} s`);
    const active = metrics.read("longshore.tasks.active").filter(({ value }) => value > 0);
    assert.deepEqual(active, [{ labels: { state: "queued" }, value: 1 }]);
    const cpus = Object.fromEntries(
      metrics.read("longshore.capacity.cpus").map(({ labels, value }) => [labels.part, value]),
    );
    assert.equal(cpus.foreign, 3.5);
    assert.equal(cpus.free, 0.5);
    assert.deepEqual(metrics.read("longshore.starts.paused"), [{ labels: {}, value: 0 }]);
    bench.engine.setForeign({ resources: NO_RESOURCES, gpuIds: [] });
    await bench.finished(task.id);
    assert.deepEqual(waiting(), []);
    // A series that is told of no more would stay at its last value.
    assert.ok(metrics.read("longshore.queue.depth").some(({ labels }) => labels.limit === "cpu"));
    assert.deepEqual(metrics.read("longshore.queue.oldest.age"), [{ labels: {}, value: 0 }]);
  });

  test("covers every figure of the catalogue that is read, and is read no more once it stops", async () => {
    await using bench = await ApplicationBench.open();
    const read = Object.entries(CATALOGUE)
      .filter(([name, { kind }]) => (kind === "gauge" || kind === "total") && name.startsWith("longshore."))
      .map(([name]) => name);
    assert.deepEqual([...bench.metrics.observed].sort(), read.sort());
    await bench.stop();
    assert.deepEqual([...bench.metrics.observed], []);
  });
});

describe("names", () => {
  test("in Prometheus are those that OpenTelemetry's rules give", () => {
    assert.equal(prometheusName("longshore.log.written", "By", true), "longshore_log_written_bytes_total");
    assert.equal(prometheusName("longshore.stage.duration", "s", false), "longshore_stage_duration_seconds");
    assert.equal(prometheusName("longshore.tasks.ended", "{task}", true), "longshore_tasks_ended_total");
    assert.equal(prometheusName("queue.age.seconds", "s", false), "queue_age_seconds");
  });

  test("are told apart, and labels never hold an id or a person", () => {
    const names = Object.entries(CATALOGUE).map(([name, { unit }]) => prometheusName(name, unit, false));
    assert.equal(new Set(names).size, names.length);
    for (const [name, { labels }] of Object.entries(CATALOGUE))
      for (const label of labels)
        assert.doesNotMatch(label, /(^|[._])(id|task|tenant|owner|subject|name)$/, name);
  });
});

describe("the page for Prometheus", () => {
  test("has every figure under its name with help, kind and unit", async () => {
    await using opened = await open({}, "127.0.0.1:0");
    opened.metrics.count("longshore.log.written", {}, 5);
    opened.metrics.count("longshore.log.written", {}, 2);
    opened.metrics.record("longshore.stage.duration", { stage: "run" }, 0.3);
    opened.metrics.observe("longshore.capacity.cpus", () => [
      { labels: { engine: 'a"b', part: "free" }, value: 1.5 },
    ]);
    const response = await fetch(`http://${opened.address}/metrics`);
    assert.equal(response.headers.get("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    const page = await response.text();
    for (const line of [
      "# TYPE longshore_log_written_bytes_total counter",
      "longshore_log_written_bytes_total 7",
      "# TYPE longshore_stage_duration_seconds histogram",
      'longshore_stage_duration_seconds_bucket{stage="run",le="0.25"} 0',
      'longshore_stage_duration_seconds_bucket{stage="run",le="0.5"} 1',
      'longshore_stage_duration_seconds_bucket{stage="run",le="+Inf"} 1',
      'longshore_capacity_cpus{engine="a\\"b",part="free"} 1.5',
      "# TYPE process_cpu_time_seconds_total counter",
      "# TYPE nodejs_eventloop_delay_p99_seconds gauge",
    ])
      assert.ok(page.split("\n").includes(line), `no line ${line} in:\n${page}`);
    assert.match(page, /target_info\{.*service_name="longshore".*service_version="1.2.3"/);
  });

  test("is the only thing there, and only to be read", async () => {
    await using opened = await open({}, "127.0.0.1:0");
    const answers = await Promise.all([
      fetch(`http://${opened.address}/`),
      fetch(`http://${opened.address}/metrics`, { method: "POST", body: "x" }),
      fetch(`http://${opened.address}/metrics?x=1`, { method: "HEAD" }),
    ]);
    assert.deepEqual(
      answers.map(({ status }) => status),
      [404, 405, 200],
    );
  });

  test("leaves out a figure that cannot be read, and the log says why", async () => {
    const log = new CollectingLog();
    await using opened = await openMetrics({ serviceVersion: "1", env: {}, listen: "127.0.0.1:0", log });
    opened.metrics.observe("longshore.data.disk.free", () => {
      throw new Error("no disk");
    });
    const response = await fetch(`http://${opened.address}/metrics`);
    assert.equal(response.status, 200);
    assert.match(await response.text(), /^process_memory_usage_bytes \d+$/m);
    assert.match(log.lines.join("\n"), /a figure could not be read.*no disk/);
  });

  test("names the setting when its address is taken", async () => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
    const address = other.address();
    const taken = `127.0.0.1:${typeof address === "object" ? address?.port : ""}`;
    await assert.rejects(
      open({}, taken),
      (error) =>
        error instanceof SystemFault && error.message.startsWith(`LONGSHORE_METRICS_ADDRESS ${taken}`),
    );
    await new Promise((resolve) => other.close(resolve));
  });
});

describe("metrics by OTLP", () => {
  test("reach the collector under their own names, with units, when the server stops at the latest", async () => {
    await using collector = await OtlpMetricsCollector.listen();
    const opened = await open({ OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint });
    opened.metrics.count("longshore.upload.received", {}, 5);
    opened.metrics.record("longshore.task.duration", { state: "succeeded" }, 1);
    await opened[Symbol.asyncDispose]();
    const name = "longshore.upload.received";
    const { unit, about } = METRICS[name];
    assert.deepEqual(collector.metrics.get(name), { name, unit, description: about });
    assert.equal(collector.metrics.get("longshore.task.duration")?.unit, "s");
    assert.ok(collector.metrics.has("nodejs.eventloop.delay.p99"));
  });

  test("are sent only where a collector is configured", async () => {
    await using collector = await OtlpMetricsCollector.listen();
    const settings: Record<string, string>[] = [
      {},
      { OTEL_METRICS_EXPORTER: "none", OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint },
      { OTEL_SDK_DISABLED: "true", OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint },
      { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: collector.endpoint },
    ];
    for (const env of settings) {
      const opened = await open(env);
      opened.metrics.count("longshore.tasks.created", {});
      await opened[Symbol.asyncDispose]();
    }
    assert.equal(collector.metrics.size, 0);
  });

  test("of a collector that is away hold up nothing", async () => {
    const opened = await open({ OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:1" });
    opened.metrics.count("longshore.tasks.created", {});
    await opened[Symbol.asyncDispose]();
  });

  test("refuse settings that cannot work, by name", async () => {
    const settings: [Record<string, string>, RegExp][] = [
      [{ OTEL_METRICS_EXPORTER: "prometheus" }, /OTEL_METRICS_EXPORTER.*LONGSHORE_METRICS_ADDRESS/],
      [
        { OTEL_METRICS_EXPORTER: "otlp", OTEL_METRIC_EXPORT_INTERVAL: "soon" },
        /OTEL_METRIC_EXPORT_INTERVAL "soon"/,
      ],
      [{ OTEL_METRICS_EXPORTER: "otlp", OTEL_EXPORTER_OTLP_METRICS_PROTOCOL: "http/json" }, /http\/json/],
    ];
    for (const [env, expected] of settings)
      await assert.rejects(
        open(env),
        (error) => error instanceof SystemFault && expected.test(error.message),
      );
  });
});
