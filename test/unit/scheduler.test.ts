import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type EngineHost, EngineHosts } from "#server/application/engine-host.ts";
import { Scheduler } from "#server/application/scheduler.ts";
import { NO_RESOURCES } from "#server/domain/capacity.ts";
import { CapacityLedger } from "#server/domain/capacity-ledger.ts";
import { FairShare } from "#server/domain/fair-share.ts";
import type { Limit } from "#server/domain/limits.ts";
import type { Task } from "#server/domain/task.ts";
import { CollectingLog } from "../support/fakes/collecting-log.ts";
import { FakeEngine } from "../support/fakes/fake-engine.ts";
import { SAMPLE_TIME, sampleTask } from "../support/sample-task.ts";

const TOTAL = { cpuMillis: 2000, ramBytes: 2 ** 30, storageBytes: 2 ** 34, gpuCount: 1 };

function task(
  place: number,
  cpuMillis: number,
  fields: { priority?: number; gpuCount?: number; ramBytes?: number } = {},
): Task {
  const sample = sampleTask(place, {}, { priority: fields.priority ?? 0 });
  const { gpuCount = 0, ramBytes = 2 ** 20 } = fields;
  return { ...sample, limits: { ...sample.limits, cpuMillis, ramBytes, storageBytes: 2 ** 20, gpuCount } };
}

/** A scheduler on a host of 2 CPUs whose passes can be waited for. */
class Harness {
  readonly started: string[] = [];
  readonly gpus: string[] = [];
  readonly waitedFor = new Map<string, Limit | null>();
  readonly host: EngineHost;
  readonly scheduler: Scheduler;

  private constructor(host: EngineHost) {
    this.host = host;
    this.scheduler = new Scheduler({
      hosts: new EngineHosts([host]),
      fairShare: new FairShare(new Map(), () => SAMPLE_TIME),
      agingMillis: 300_000,
      launch: (started, _host, hold, waitedFor) => {
        this.started.push(started.id);
        this.waitedFor.set(started.id, waitedFor);
        this.gpus.push(...hold.gpuIds);
      },
      tell: () => undefined,
      log: new CollectingLog(),
      clock: () => SAMPLE_TIME,
    });
  }

  static async create(engine = new FakeEngine()): Promise<Harness> {
    const capabilities = await engine.capabilities();
    return new Harness({
      engine,
      capabilities,
      ledger: new CapacityLedger(TOTAL, NO_RESOURCES, [{ id: "GPU-1", model: "Fake GPU" }]),
    });
  }

  /** A pass runs before the next turn's immediate. */
  async pass(): Promise<string[]> {
    await new Promise((resolve) => setImmediate(resolve));
    return this.started.splice(0);
  }
}

describe("the queue", () => {
  test("starts what fits, and says of the rest what is needed, free, and its place", async () => {
    const harness = await Harness.create();
    const tasks = [task(1, 1000), task(2, 1000), task(3, 1000)];
    for (const each of tasks) harness.scheduler.enqueue(each);
    assert.deepEqual(await harness.pass(), [tasks[0]?.id, tasks[1]?.id]);
    const wait = harness.scheduler.waitOf(tasks[2]?.id ?? "");
    assert.equal(wait?.kind, "CAPACITY");
    assert.equal(wait?.limit, "CPU");
    assert.equal(wait?.needed, 1000);
    assert.equal(wait?.available, 0);
    assert.equal(wait?.position, 1);
    harness.scheduler.giveBack(harness.host, tasks[0]?.id ?? "");
    assert.deepEqual(await harness.pass(), [tasks[2]?.id]);
  });

  test("tells at a start what the task waited for, and nothing of one that did not wait", async () => {
    const harness = await Harness.create();
    const [first, second, third] = [task(1, 2000), task(2, 1000), task(3, 1000)];
    for (const each of [first, second, third]) harness.scheduler.enqueue(each);
    await harness.pass();
    harness.scheduler.giveBack(harness.host, first.id);
    assert.deepEqual(await harness.pass(), [second.id, third.id]);
    assert.deepEqual(
      [first, second, third].map(({ id }) => harness.waitedFor.get(id)),
      [null, "CPU", "CPU"],
    );
  });

  test("goes by priority, then age", async () => {
    const harness = await Harness.create();
    for (const each of [task(1, 2000), task(2, 2000, { priority: 5 }), task(3, 2000, { priority: 5 })])
      harness.scheduler.enqueue(each);
    const order: string[] = [];
    for (let started = await harness.pass(); started.length > 0; started = await harness.pass()) {
      order.push(...started);
      for (const id of started) harness.scheduler.giveBack(harness.host, id);
    }
    assert.deepEqual(order, [task(2, 0).id, task(3, 0).id, task(1, 0).id]);
  });

  test("lets small tasks past a big one, but not for ever", async () => {
    const harness = await Harness.create();
    const hog = task(1, 1000);
    harness.scheduler.enqueue(hog);
    assert.deepEqual(await harness.pass(), [hog.id]);
    const big = task(2, 2000);
    harness.scheduler.enqueue(big);
    let overtook = 0;
    for (let place = 3; place < 60; place++) {
      const small = task(place, 500);
      harness.scheduler.enqueue(small);
      const started = await harness.pass();
      overtook += started.length;
      for (const id of started) harness.scheduler.giveBack(harness.host, id);
    }
    assert.ok(overtook > 0, "nothing went past");
    assert.ok(overtook <= 16, `${overtook} went past`);
    harness.scheduler.giveBack(harness.host, hog.id);
    assert.equal((await harness.pass())[0], big.id);
  });

  test("a GPU is held by one task at a time, by id, and free again on the way out", async () => {
    const harness = await Harness.create();
    harness.scheduler.enqueue(task(1, 100, { gpuCount: 1 }));
    harness.scheduler.enqueue(task(2, 100, { gpuCount: 1 }));
    assert.deepEqual(await harness.pass(), [task(1, 0).id]);
    assert.equal(harness.scheduler.waitOf(task(2, 0).id)?.limit, "GPU");
    harness.scheduler.giveBack(harness.host, task(1, 0).id);
    assert.deepEqual(await harness.pass(), [task(2, 0).id]);
    assert.deepEqual(harness.gpus, ["GPU-1", "GPU-1"]);
  });

  test("idle sandboxes have the memory that attempts leave", async () => {
    const engine = new FakeEngine();
    const harness = await Harness.create(engine);
    harness.scheduler.enqueue(task(1, 1000, { ramBytes: 2 ** 29 }));
    await harness.pass();
    assert.equal(engine.warmRoomBytes, TOTAL.ramBytes - 2 ** 29);
    harness.scheduler.giveBack(harness.host, sampleTask(1).id);
    await harness.pass();
    assert.equal(engine.warmRoomBytes, TOTAL.ramBytes);
  });

  test("what is removed from the queue never starts", async () => {
    const harness = await Harness.create();
    harness.scheduler.enqueue(task(1, 1000));
    assert.equal(harness.scheduler.remove(task(1, 0).id), true);
    assert.equal(harness.scheduler.remove(task(1, 0).id), false);
    assert.deepEqual(await harness.pass(), []);
  });

  test("giving back twice is a fault, not free capacity", async () => {
    const harness = await Harness.create();
    harness.scheduler.enqueue(task(1, 1000));
    await harness.pass();
    harness.scheduler.giveBack(harness.host, task(1, 0).id);
    assert.throws(() => harness.scheduler.giveBack(harness.host, task(1, 0).id), /holds nothing/);
  });

  test("looks for room once for each size that waits, whatever the number of tasks and tenants", async (t) => {
    const harness = await Harness.create();
    harness.scheduler.enqueue(task(0, 2000));
    await harness.pass();
    const sizes = [500, 1000, 1500];
    for (let place = 1; place <= 600; place++) {
      const waiting = { ...task(place, sizes[place % 3] ?? 0), tenant: `tenant ${place % 50}` };
      harness.scheduler.enqueue(waiting);
    }
    await harness.pass();
    const { ledger } = harness.host;
    const looks = t.mock.method(ledger, "shortage").mock;
    harness.scheduler.wake();
    assert.deepEqual(await harness.pass(), []);
    assert.equal(looks.callCount(), sizes.length);
  });
});
