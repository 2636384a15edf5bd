/** The real server, looked at as Prometheus does. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { Longshore } from "@longshore/client";
import { prometheusName } from "#server/adapters/telemetry/prometheus-name.ts";
import { METRICS, type MetricDefinition } from "#server/domain/metrics.ts";
import { promtool, whyNoPromtool } from "../support/promtool.ts";
import { startServer, whyNoServer } from "../support/running-server.ts";

const PROJECT = join(import.meta.dirname, "../fixtures/projects/training");

test("a scrape after a few tasks has every figure, in a form that promtool accepts", {
  skip: (await whyNoServer()) ?? (await whyNoPromtool()) ?? false,
}, async () => {
  await using server = await startServer({ LONGSHORE_METRICS_ADDRESS: "127.0.0.1:0" });
  const url = /"prometheus":"([^"]+)"/.exec(await server.logged(/"prometheus":/))?.[1] ?? "";
  await using client = new Longshore(server.address);
  await client.run({ code: "print('hello')" }, { cpu: 0.5, ram: "64MB", storage: "64MB" });
  const failed = await client.run({ code: "raise SystemExit(3)" }, { ram: "64MB", reject: false });
  assert.equal(failed.succeeded, false);
  await client.run(PROJECT, { ram: "128MB" });

  const page = await (await fetch(url)).text();
  const catalogue: Readonly<Record<string, MetricDefinition>> = METRICS;
  const missing = Object.entries(catalogue)
    .map(([name, { kind, unit }]) => prometheusName(name, unit, kind === "counter" || kind === "total"))
    .filter((name) => !page.includes(`# TYPE ${name} `));
  assert.deepEqual(missing, []);
  for (const line of [
    "longshore_tasks_created_total 3",
    'longshore_tasks_ended_total{state="failed",reason="exited"} 1',
    'longshore_tasks_ended_total{state="failed",reason="out_of_memory"} 0',
  ])
    assert.ok(page.includes(`${line}\n`), `no line ${line} in:\n${page}`);
  assert.match(page, /^longshore_upload_received_bytes_total [1-9]\d*$/m);
  assert.match(
    page,
    /^rpc_server_call_duration_seconds_count\{rpc_method="longshore.v1.TaskService\/CreateTask"/m,
  );
  assert.deepEqual(await promtool(["check", "metrics"], page), { code: 0, problems: "" });
});
