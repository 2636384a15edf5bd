import assert from "node:assert/strict";
import { test } from "node:test";
import { ToldExporter } from "#server/adapters/telemetry/told-exporter.ts";
import { CollectingLog } from "../support/fakes/collecting-log.ts";

test("a collector that fails is told of once, and once when it takes spans again", () => {
  const log = new CollectingLog();
  const results = [0, 1, 1, 0, 0, 1].map((code) => ({ code, error: new Error("14 UNAVAILABLE") }));
  const heard: number[] = [];
  const exporter = new ToldExporter(
    {
      export: (_spans, done) => done(results[heard.length] ?? { code: 0 }),
      shutdown: async () => undefined,
    },
    log,
  );
  for (const _ of results) exporter.export([], ({ code }) => heard.push(code));
  assert.deepEqual(heard, [0, 1, 1, 0, 0, 1]);
  assert.deepEqual(
    log.lines.map((line) => line.split(" {")[0]),
    [
      "spans cannot be sent; tasks go on without their traces",
      "spans are sent again",
      "spans cannot be sent; tasks go on without their traces",
    ],
  );
  assert.match(log.lines[0] ?? "", /14 UNAVAILABLE/);
});
