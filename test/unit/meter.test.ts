import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { AttemptEnd } from "#server/application/attempt-end.ts";
import { AttemptLog } from "#server/application/attempt-log.ts";
import { AttemptSpans } from "#server/application/attempt-spans.ts";
import { EngineHosts } from "#server/application/engine-host.ts";
import { Meter } from "#server/application/meter.ts";
import { CapacityLedger } from "#server/domain/capacity-ledger.ts";
import { PriceBook } from "#server/domain/price-book.ts";
import type { ResultReason, Task } from "#server/domain/task.ts";
import { FakeEngine } from "../support/fakes/fake-engine.ts";
import { samplePolicy } from "../support/sample-policy.ts";
import {
  SAMPLE_RESULT,
  SAMPLE_TIME,
  sampleAttempt,
  sampleStage,
  sampleTask,
} from "../support/sample-task.ts";

const at = (seconds: number) => new Date(SAMPLE_TIME.getTime() + seconds * 1000);
const HOUR_PRICES = { cpuHourNanos: 3600n, ramGbHourNanos: 0n, storageGbHourNanos: 0n };
const book = new PriceBook("EUR", [
  { from: null, until: at(100), prices: { ...HOUR_PRICES, gpuHourNanos: new Map([["*", 7200n]]) } },
  { from: at(100), until: null, prices: { ...HOUR_PRICES, cpuHourNanos: 36_000n, gpuHourNanos: new Map() } },
]);

async function meterOf(prices: PriceBook | null = book) {
  const engine = new FakeEngine({ name: "docker", gpus: [{ id: "gpu-0", model: "T4" }] });
  const capabilities = await engine.capabilities();
  const ledger = new CapacityLedger(capabilities.total, capabilities.total, capabilities.gpus);
  const hosts = new EngineHosts([{ engine, capabilities, ledger }]);
  const meter = new Meter({ prices, hosts, policy: samplePolicy({ defaultImage: "ours" }) });
  return { meter, [Symbol.asyncDispose]: () => engine[Symbol.asyncDispose]() };
}

/** A task whose spec was taken at second 2 and whose code ran from second 5 on, of 2 CPU and 30 s at most. */
function running(changes: Partial<Task> = {}, gpuIds: string[] = []): Task {
  const attempt = sampleAttempt(1, { runStartTime: at(5), gpuIds });
  const sandbox = sampleStage("sandbox", 1, { startTime: at(0), endTime: at(2) });
  const run = sampleStage("run", 1, { startTime: at(5) });
  return sampleTask(1, {
    image: "ours",
    state: "RUNNING",
    attempts: [attempt],
    stages: [sandbox, run],
    ...changes,
  });
}

function seen(changes: Partial<AttemptEnd> = {}): AttemptEnd {
  const nothing = { end: null, exit: null, kill: null, damage: "", runTime: null };
  const told = { log: new AttemptLog(), spans: new AttemptSpans() };
  return { ...nothing, time: at(20), accepted: true, stages: [], ...told, ...changes };
}

const result = (reason: ResultReason) => ({ ...SAMPLE_RESULT, reason });

describe("the meter", () => {
  test("charges from the first to the last moment of the user's code, not what comes before and after", async () => {
    await using bench = await meterOf();
    const stages = [sampleStage("run", 1, { startTime: at(5), endTime: at(15) })];
    const usage = bench.meter.usageOf(result("EXITED"), seen({ stages }), running(), at(60));
    assert.equal(usage.chargedMillis, 10_000);
    assert.equal(usage.charge?.nanos, 20n);
  });

  test("takes the moment at which the server saw the end where the run has none", async () => {
    await using bench = await meterOf();
    const usage = bench.meter.usageOf(result("OUT_OF_MEMORY"), seen(), running(), at(60));
    assert.equal(usage.chargedMillis, 15_000);
  });

  test("takes the prices of the moment at which the code began", async () => {
    await using bench = await meterOf();
    const stages = (start: number) => [
      sampleStage("run", 1, { startTime: at(start), endTime: at(start + 10) }),
    ];
    const nanos = (start: number) => {
      const task = running({ attempts: [sampleAttempt(1, { runStartTime: at(start) })] });
      const end = seen({ stages: stages(start) });
      return bench.meter.usageOf(result("EXITED"), end, task, at(200)).charge?.nanos;
    };
    assert.deepEqual([nanos(99), nanos(100)], [20n, 200n]);
  });

  test("charges GPUs by their model, and one that has gone as any", async () => {
    await using bench = await meterOf();
    const task = running({}, ["gpu-0", "gpu-9"]);
    const { charge } = bench.meter.usageOf(result("EXITED"), seen({ time: at(15) }), task, at(60));
    assert.deepEqual(charge?.gpus, [
      { model: "", count: 1, hourNanos: 7200n },
      { model: "T4", count: 1, hourNanos: 7200n },
    ]);
    assert.equal(charge?.nanos, 10n * (2n + 2n + 2n));
  });

  test("charges GPUs of an engine that does not tell which it gave", async () => {
    await using bench = await meterOf();
    const base = running();
    const task = { ...base, limits: { ...base.limits, gpuCount: 2 } };
    const { charge } = bench.meter.usageOf(result("EXITED"), seen({ time: at(15) }), task, at(60));
    assert.deepEqual(charge?.gpus, [{ model: "", count: 2, hourNanos: 7200n }]);
  });

  for (const reason of ["LOST", "SYSTEM_ERROR"] as const) {
    test(`takes nothing for ${reason} where the runner is ours`, async () => {
      await using bench = await meterOf();
      const usage = bench.meter.usageOf(result(reason), seen(), running(), at(60));
      assert.deepEqual([usage.chargedMillis, usage.charge?.nanos], [0, 0n]);
    });
  }

  test("believes no runner in an image of the user's: its clock is the server's, and a last word that is missing costs", async () => {
    await using bench = await meterOf();
    const task = running({
      image: "theirs",
      attempts: [sampleAttempt(1)],
      stages: running().stages.slice(0, 1),
    });
    const millis = (reason: ResultReason, changes: Partial<AttemptEnd> = {}) =>
      bench.meter.usageOf(result(reason), seen(changes), task, at(60)).chargedMillis;
    const lie = [sampleStage("run", 1, { startTime: at(5), endTime: at(5) })];
    assert.equal(millis("EXITED", { stages: lie }), 18_000);
    assert.equal(millis("SYSTEM_ERROR"), 18_000);
    assert.equal(millis("SYSTEM_ERROR", { accepted: false }), 0);
    assert.equal(millis("LOST"), 0);
  });

  test("tells what a running task costs by now, and nothing of one that has not begun", async () => {
    await using bench = await meterOf();
    assert.equal(bench.meter.withAccrued(running(), at(10)).accrued?.nanos, 10n);
    assert.equal(bench.meter.withAccrued(running(), at(1000)).accrued?.nanos, 60n, "not beyond its timeout");
    const preparing = running({ attempts: [sampleAttempt(1)], stages: [] });
    assert.equal(bench.meter.withAccrued(preparing, at(10)).accrued, undefined);
  });

  test("keeps amounts where nothing has a price", async () => {
    await using bench = await meterOf(null);
    const usage = bench.meter.usageOf(result("EXITED"), seen(), running({}, ["gpu-0"]), at(60));
    assert.equal(usage.chargedMillis, 15_000);
    assert.deepEqual(usage.charge, {
      currency: "",
      nanos: 0n,
      cpuHourNanos: 0n,
      ramGbHourNanos: 0n,
      storageGbHourNanos: 0n,
      gpus: [{ model: "T4", count: 1, hourNanos: 0n }],
    });
  });
});
