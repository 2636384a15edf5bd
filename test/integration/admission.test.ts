/** Admission over a fake engine: what others hold, GPUs on every way out, and tiers. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { NO_RESOURCES } from "#server/domain/capacity.ts";
import { NeverFits, NotEnforced, SystemFault } from "#server/domain/errors.ts";
import { GIBIBYTE } from "#server/domain/resources.ts";
import { ApplicationBench, CALLER } from "../support/application-bench.ts";
import { FakeEngine } from "../support/fakes/fake-engine.ts";
import { samplePolicy } from "../support/sample-policy.ts";

const TOTAL = { cpuMillis: 4000, ramBytes: 8 * GIBIBYTE, storageBytes: 100 * GIBIBYTE, gpuCount: 2 };
const GPUS = [
  { id: "GPU-a", model: "H200" },
  { id: "GPU-b", model: "T4" },
];
const resources = (fields: { cpu?: string; gpu?: string; gpuModel?: string }) => ({
  cpu: "0.1",
  gpu: "",
  ram: "64MB",
  storage: "64MB",
  gpuModel: "",
  ...fields,
});

const withGpus = () => new FakeEngine({ total: TOTAL, gpus: GPUS });

describe("what others hold", () => {
  test("keeps tasks in the queue, is told with the reason, and lets them go on when it is gone", async () => {
    await using bench = await ApplicationBench.open();
    bench.engine.setForeign({ resources: { ...NO_RESOURCES, cpuMillis: 3500 }, gpuIds: [] });
    await new Promise((resolve) => setImmediate(resolve));
    const task = await bench.create({ code: "print(1)", resources: resources({ cpu: "1" }) });
    await new Promise((resolve) => setImmediate(resolve));
    const { wait } = await bench.application.getTask(CALLER, task.id);
    assert.deepEqual([wait?.limit, wait?.needed, wait?.available], ["CPU", 1000, 500]);
    assert.equal(
      wait?.message,
      "waiting for 1 CPU (0.5 CPU free; other containers on this host hold 3.5 CPU)",
    );
    assert.equal((await bench.application.getCapacity("")).foreign.cpuMillis, 3500);
    bench.engine.setForeign({ resources: NO_RESOURCES, gpuIds: [] });
    assert.equal((await bench.finished(task.id)).state, "SUCCEEDED");
  });

  test("does not count where the operator says so", async () => {
    await using bench = await ApplicationBench.open({ policy: samplePolicy({ countForeign: false }) });
    bench.engine.setForeign({ resources: { ...NO_RESOURCES, cpuMillis: 4000 }, gpuIds: [] });
    const task = await bench.create({ code: "print(1)", resources: resources({ cpu: "1" }) });
    assert.equal((await bench.finished(task.id)).state, "SUCCEEDED");
  });
});

describe("GPUs", () => {
  test("are told by id, and free again however a task ends", async () => {
    await using engine = withGpus();
    await using bench = await ApplicationBench.open({ engines: [engine] });
    for (const code of ["print(1)", "raise SystemExit(3)", "import os; os.kill(os.getpid(), 9)"]) {
      const task = await bench.create({ code, resources: resources({ gpu: "2" }) });
      const ended = await bench.finished(task.id);
      assert.deepEqual(ended.attempts[0]?.gpuIds, ["GPU-a", "GPU-b"]);
    }
    const one = await bench.create({ code: "print(1)", resources: resources({ gpu: "1", gpuModel: "T4" }) });
    assert.deepEqual((await bench.finished(one.id)).attempts[0]?.gpuIds, ["GPU-b"]);
    assert.equal((await bench.application.getCapacity("")).free.gpuCount, 2);
  });

  test("that are not there, or not of that model, are refused with what there is", async () => {
    await using engine = withGpus();
    await using bench = await ApplicationBench.open({ engines: [engine] });
    const ask = (fields: Parameters<typeof resources>[0]) =>
      bench.create({ code: "print(1)", resources: resources(fields) });
    await assert.rejects(ask({ gpu: "3" }), NeverFits);
    await assert.rejects(ask({ gpu: "2", gpuModel: "T4" }), (error) => {
      assert.ok(error instanceof NeverFits);
      assert.match(error.message, /2 GPU of model "T4" asked, this server has 1; its models are H200, T4/);
      return true;
    });
    await using without = await ApplicationBench.open();
    const none = without.create({ code: "print(1)", resources: resources({ gpu: "1" }) });
    await assert.rejects(none, /this server has no GPU/);
  });
});

describe("isolation", () => {
  test("a tier that is not there is refused, and a server whose default it is does not start", async () => {
    await using bench = await ApplicationBench.open();
    await assert.rejects(bench.create({ code: "print(1)", isolation: "GVISOR" }), NotEnforced);
    const policy = samplePolicy({ defaultIsolation: "GVISOR" });
    await bench.stop();
    await assert.rejects(bench.start({ policy }), SystemFault);
    await bench.start();
  });
});
