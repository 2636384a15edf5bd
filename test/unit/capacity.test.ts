import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { claimedGpus } from "#server/adapters/docker/foreign-containers.ts";
import { type Gpu, NO_RESOURCES } from "#server/domain/capacity.ts";
import { CapacityLedger } from "#server/domain/capacity-ledger.ts";

const TOTAL = { cpuMillis: 4000, ramBytes: 2 ** 33, storageBytes: 2 ** 35, gpuCount: 4 };
const GPUS: readonly Gpu[] = [
  { id: "GPU-a", model: "H200" },
  { id: "GPU-b", model: "T4" },
  { id: "GPU-c", model: "H200" },
  { id: "GPU-d", model: "T4" },
];
const gpus = (gpuCount: number) => ({ ...NO_RESOURCES, gpuCount });

function ledger() {
  return new CapacityLedger(TOTAL, { ...NO_RESOURCES, ramBytes: 2 ** 30 }, GPUS);
}

function idsOf(hold: ReturnType<CapacityLedger["tryHold"]>): readonly string[] {
  assert.ok("gpuIds" in hold, JSON.stringify(hold));
  return hold.gpuIds;
}

describe("GPUs", () => {
  test("are held whole, by one task each, and free again when it gives them back", () => {
    const held = ledger();
    assert.deepEqual(idsOf(held.tryHold("one", gpus(2))), ["GPU-a", "GPU-b"]);
    assert.deepEqual(idsOf(held.tryHold("two", gpus(1))), ["GPU-c"]);
    assert.deepEqual(held.tryHold("three", gpus(2)), { limit: "GPU", needed: 2, available: 1 });
    held.giveBack("one");
    assert.deepEqual(idsOf(held.tryHold("three", gpus(2))), ["GPU-a", "GPU-b"]);
    assert.throws(() => held.giveBack("one"), /holds nothing/);
  });

  test("go by model where one is asked for", () => {
    const held = ledger();
    assert.deepEqual(idsOf(held.tryHold("one", gpus(1), "T4")), ["GPU-b"]);
    assert.deepEqual(idsOf(held.tryHold("two", gpus(1), "T4")), ["GPU-d"]);
    assert.deepEqual(held.tryHold("three", gpus(1), "T4"), { limit: "GPU", needed: 1, available: 0 });
    assert.deepEqual(idsOf(held.tryHold("three", gpus(2))), ["GPU-a", "GPU-c"]);
    assert.deepEqual([held.gpuCount("T4"), held.gpuCount(""), held.gpuCount("none")], [2, 4, 0]);
  });

  test("of a task from before a restart stay with it, and those of other containers with them", () => {
    const held = ledger();
    held.adopt({ taskId: "old", resources: gpus(1), gpuIds: ["GPU-b"] });
    held.noteForeign({ resources: gpus(1), gpuIds: ["GPU-a"] });
    assert.equal(held.free.gpuCount, 2);
    assert.deepEqual(idsOf(held.tryHold("new", gpus(2))), ["GPU-c", "GPU-d"]);
    assert.deepEqual(held.tryHold("more", gpus(1)), { limit: "GPU", needed: 1, available: 0 });
  });

  test("of others are known by id, index, number, all, and NVIDIA's variable", () => {
    const ids = GPUS.map(({ id }) => id);
    const claim = (fields: Partial<Parameters<typeof claimedGpus>[0]>) =>
      claimedGpus({ cpuMillis: 0, memoryBytes: 0, gpuRequests: [], visibleGpus: "", ...fields }, ids);
    assert.deepEqual(claim({}), []);
    assert.deepEqual(claim({ gpuRequests: [{ count: 0, ids: ["GPU-c", "1"] }] }), ["GPU-c", "GPU-b"]);
    assert.deepEqual(claim({ gpuRequests: [{ count: 2, ids: [] }] }), ["GPU-a", "GPU-b"]);
    assert.deepEqual(claim({ gpuRequests: [{ count: -1, ids: [] }] }), ids);
    assert.deepEqual(claim({ visibleGpus: "all" }), ids);
    assert.deepEqual(claim({ visibleGpus: "3,GPU-a" }), ["GPU-d", "GPU-a"]);
    assert.deepEqual(claim({ visibleGpus: "none" }), []);
  });
});

describe("the ledger", () => {
  test("counts what others hold against what is free, never against what can be had at most", () => {
    const held = ledger();
    held.noteForeign({ resources: { ...NO_RESOURCES, cpuMillis: 3500, ramBytes: 2 ** 34 }, gpuIds: [] });
    assert.deepEqual([held.free.cpuMillis, held.free.ramBytes], [500, 0]);
    assert.deepEqual([held.largest.cpuMillis, held.largest.ramBytes], [4000, 2 ** 33 - 2 ** 30]);
    assert.deepEqual(held.tryHold("one", { ...NO_RESOURCES, cpuMillis: 1000 }), {
      limit: "CPU",
      needed: 1000,
      available: 500,
    });
  });
});

describe("several hosts", () => {
  const one = { cpuMillis: 2000, ramBytes: 2 ** 31, storageBytes: 2 ** 34, gpuCount: 0 };

  test("hold as many tasks as all of them can, and none that no single one can", () => {
    const hosts = new CapacityLedger(TOTAL, NO_RESOURCES, [], one);
    assert.deepEqual(hosts.largest, one);
    assert.equal(hosts.free.cpuMillis, TOTAL.cpuMillis);
    hosts.hold("one", one);
    hosts.hold("two", one);
    assert.deepEqual(hosts.shortage(one), { limit: "CPU", needed: 2000, available: 0 });
  });
});
