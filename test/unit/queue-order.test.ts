/** Whose turn it is: the order of the queue, ageing, tenants' shares, and what is known of how long runs take. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { type EngineHost, EngineHosts } from "#server/application/engine-host.ts";
import { RunHistory } from "#server/application/run-history.ts";
import { Scheduler } from "#server/application/scheduler.ts";
import { NO_RESOURCES } from "#server/domain/capacity.ts";
import { CapacityLedger } from "#server/domain/capacity-ledger.ts";
import { FairShare } from "#server/domain/fair-share.ts";
import { compareKeys, queueKey } from "#server/domain/queue-order.ts";
import type { Task } from "#server/domain/task.ts";
import { CollectingLog } from "../support/fakes/collecting-log.ts";
import { FakeEngine } from "../support/fakes/fake-engine.ts";
import { MemoryDatabase } from "../support/fakes/memory-database.ts";
import { next, SAMPLE_TIME, sampleTask, succeeded } from "../support/sample-task.ts";

const AGING = 300_000;
const SLOT = { cpuMillis: 1000, ramBytes: 2 ** 30, storageBytes: 2 ** 30, gpuCount: 0 };

interface Fields {
  readonly tenant?: string;
  readonly priority?: number;
  readonly at?: number;
  readonly expectedMillis?: number;
  readonly cpuMillis?: number;
}

function task(place: number, fields: Fields = {}): Task {
  const { tenant = "tenant", priority = 0, at = 0, expectedMillis = null, cpuMillis = 1000 } = fields;
  const createTime = new Date(SAMPLE_TIME.getTime() + at);
  const sample = sampleTask(place, { tenant, createTime, expectedMillis }, { priority });
  return { ...sample, limits: { ...sample.limits, cpuMillis, ramBytes: 2 ** 20, storageBytes: 2 ** 20 } };
}

/** A host of one CPU, on a clock that the test moves. */
class Slot {
  now = SAMPLE_TIME.getTime();
  readonly scheduler: Scheduler;
  readonly #host: EngineHost;
  #started: Task[] = [];

  private constructor(host: EngineHost, weights: ReadonlyMap<string, number>, agingMillis: number) {
    const clock = () => new Date(this.now);
    this.#host = host;
    this.scheduler = new Scheduler({
      hosts: new EngineHosts([host]),
      fairShare: new FairShare(weights, clock),
      agingMillis,
      launch: (started) => this.#started.push(started),
      tell: () => undefined,
      log: new CollectingLog(),
      clock,
    });
  }

  static async open(weights: ReadonlyMap<string, number> = new Map(), agingMillis = AGING): Promise<Slot> {
    const engine = new FakeEngine();
    const capabilities = await engine.capabilities();
    const ledger = new CapacityLedger(SLOT, NO_RESOURCES);
    return new Slot({ engine, capabilities, ledger }, weights, agingMillis);
  }

  /** Lets what runs now end after so long; answers what started next. */
  async turn(millis: number): Promise<Task[]> {
    const running = this.#started.splice(0);
    this.now += millis;
    for (const { id } of running) this.scheduler.giveBack(this.#host, id);
    await new Promise((resolve) => setImmediate(resolve));
    return [...this.#started];
  }

  /** The order in which all that is queued would run, one after the other. */
  async drain(millis = 1000): Promise<Task[]> {
    const order: Task[] = [];
    while (this.scheduler.queuedCount > 0) order.push(...(await this.turn(millis)));
    return order;
  }
}

const places = (tasks: readonly Task[]) => tasks.map(({ id }) => Number(id.slice(4)));

const arbitraryTask = fc
  .record({
    place: fc.nat(10_000),
    priority: fc.integer({ min: -100, max: 100 }),
    at: fc.nat(86_400_000),
    expectedMillis: fc.nat(40_000),
  })
  .map(({ place, ...fields }) => task(place, fields));

describe("the order of the queue", () => {
  test("is total: no two tasks go at the same place, and no three in a circle", () => {
    const property = fc.property(arbitraryTask, arbitraryTask, arbitraryTask, (x, y, z) => {
      const [a, b, c] = [x, y, z].map((each) => queueKey(each, AGING));
      assert.ok(a && b && c);
      assert.equal(Math.sign(compareKeys(a, b)), -Math.sign(compareKeys(b, a)));
      if (compareKeys(a, b) === 0) assert.equal(a.id, b.id);
      if (compareKeys(a, b) < 0 && compareKeys(b, c) < 0) assert.ok(compareKeys(a, c) < 0);
    });
    fc.assert(property, { numRuns: 2000 });
  });

  test("gives every task a place of its own, whoever it belongs to", async () => {
    const property = fc.asyncProperty(
      fc.array(fc.record({ tenant: fc.constantFrom("a", "b", "c"), priority: fc.nat(2) }), { maxLength: 40 }),
      async (all) => {
        const slot = await Slot.open();
        const tasks = all.map((fields, place) => task(place, { ...fields, cpuMillis: 2000 }));
        for (const each of tasks) slot.scheduler.enqueue(each);
        await slot.turn(0);
        const positions = tasks.map(({ id }) => slot.scheduler.waitOf(id)?.position ?? 0);
        assert.deepEqual(
          positions.toSorted((a, b) => a - b),
          tasks.map((_, index) => index + 1),
        );
      },
    );
    await fc.assert(property, { numRuns: 50 });
  });

  test("puts the shorter first among those that came about the same time, and the older of two alike", async () => {
    const slot = await Slot.open();
    const seconds = [25, 3, 3.2, 0.1, 200];
    for (const [place, length] of seconds.entries())
      slot.scheduler.enqueue(task(place, { expectedMillis: length * 1000 }));
    // The last is expected to run longer than it may: for its timeout of 30 s, then, as long as the first about.
    assert.deepEqual(places(await slot.drain()), [3, 1, 2, 0, 4]);
  });

  test("does not let an expected length count against those that came much earlier", async () => {
    const slot = await Slot.open();
    slot.scheduler.enqueue(task(1, { expectedMillis: 25_000 }));
    slot.scheduler.enqueue(task(2, { expectedMillis: 100, at: 2 * AGING }));
    assert.deepEqual(places(await slot.drain()), [1, 2]);
  });
});

describe("ageing", () => {
  test("lets nobody starve, whatever comes after", async () => {
    const arbitraryPriorities = fc.array(fc.integer({ min: -5, max: 5 }), { minLength: 400, maxLength: 400 });
    const property = fc.asyncProperty(
      fc.integer({ min: -5, max: 5 }),
      arbitraryPriorities,
      async (priority, others) => {
        const aging = 10_000;
        const slot = await Slot.open(new Map(), aging);
        const patient = task(0, { priority, expectedMillis: 30_000 });
        // Always one more of them than can run meanwhile.
        slot.scheduler.enqueue(task(1, { priority: 5 }));
        slot.scheduler.enqueue(patient);
        const bound = (5 - priority + 2) * aging;
        for (const [place, other] of others.entries()) {
          const at = slot.now - SAMPLE_TIME.getTime();
          slot.scheduler.enqueue(task(place + 2, { priority: other, at, expectedMillis: 100 }));
          const started = await slot.turn(1000);
          if (started.some(({ id }) => id === patient.id)) return;
          // Those that came in time may still run before it, but nobody else.
          assert.ok(at <= 2 * bound, `still waiting after ${at / 1000} s`);
        }
        assert.fail("it never started");
      },
    );
    await fc.assert(property, { numRuns: 15 });
  });

  test("leaves a higher priority its way for an interval per step, and can be turned off", async () => {
    const slot = await Slot.open();
    slot.scheduler.enqueue(task(1, { at: 0 }));
    slot.scheduler.enqueue(task(2, { at: AGING / 2, priority: 1 }));
    slot.scheduler.enqueue(task(3, { at: 3 * AGING, priority: 1 }));
    assert.deepEqual(places(await slot.drain()), [2, 1, 3]);
    const strict = await Slot.open(new Map(), 0);
    strict.scheduler.enqueue(task(1, { at: 0 }));
    strict.scheduler.enqueue(task(2, { at: 900 * AGING, priority: 1 }));
    assert.deepEqual(places(await strict.drain()), [2, 1]);
  });
});

describe("tenants", () => {
  const starts = (order: readonly Task[], tenant: string) =>
    order.filter((each) => each.tenant === tenant).length;

  async function crowd(weights: ReadonlyMap<string, number>): Promise<Slot> {
    const slot = await Slot.open(weights);
    for (let place = 0; place < 60; place++) slot.scheduler.enqueue(task(place, { tenant: "many" }));
    for (let place = 60; place < 120; place++) slot.scheduler.enqueue(task(place, { tenant: "few" }));
    return slot;
  }

  test("take turns, however many tasks one has queued before the other", async () => {
    const order = (await (await crowd(new Map())).drain()).slice(0, 20);
    assert.equal(starts(order, "many"), 10);
    assert.equal(starts(order, "few"), 10);
  });

  test("take turns by their weights", async () => {
    const order = (await (await crowd(new Map([["few", 3]]))).drain()).slice(0, 40);
    assert.ok(Math.abs(starts(order, "few") - 30) <= 1, `${starts(order, "few")} of 40`);
  });

  test("share what is free at once, too", async () => {
    const slot = await Slot.open();
    for (let place = 0; place < 20; place++)
      slot.scheduler.enqueue(task(place, { tenant: place < 10 ? "many" : "few", cpuMillis: 100 }));
    const started = await slot.turn(0);
    assert.equal(started.length, 10);
    assert.equal(starts(started, "few"), 5);
  });

  test("make no difference to a tenant that is alone", async () => {
    const slot = await Slot.open(new Map([["tenant", 0.001]]));
    for (let place = 0; place < 10; place++) slot.scheduler.enqueue(task(place));
    assert.deepEqual(
      places(await slot.drain()),
      Array.from({ length: 10 }, (_, place) => place),
    );
  });

  test("have forgiven long use after a while, and nothing is remembered of those that are gone", () => {
    let now = 0;
    const share = new FairShare(new Map(), () => new Date(now));
    share.hold("early", "t1", 1);
    now += 3_600_000;
    share.giveBack("t1");
    share.giveBack("t1");
    const score = share.score("early");
    now += 600_000;
    assert.ok(Math.abs(share.score("early") - score / 2) < score / 1e6);
    now += 86_400_000;
    assert.equal(share.score("early"), 0);
  });
});

describe("how long a program is expected to run", () => {
  const ran = (place: number, millis: number, fields: Partial<Task> = {}) => ({
    ...succeeded(sampleTask(place, fields)),
    version: 1,
    startTime: SAMPLE_TIME,
    endTime: new Date(SAMPLE_TIME.getTime() + millis),
  });
  const { programDigest } = sampleTask(0);

  test("is the median of its last runs that succeeded, of the same tenant, also after a restart", async () => {
    const { tasks: store } = new MemoryDatabase();
    const history = new RunHistory(store);
    assert.equal(await history.expect("tenant", programDigest), null);
    for (const [place, millis] of [9000, 10, 20, 5000, 30, 40].entries()) {
      const ended = ran(place, millis);
      await store.insert(ended);
      history.ended(ended);
    }
    const failed = next(ran(10, 77), { state: "FAILED" });
    await store.insert(failed);
    history.ended(failed);
    await store.insert(ran(11, 88, { tenant: "other" }));
    for (const each of [history, new RunHistory(store)]) {
      assert.equal(await each.expect("tenant", programDigest), 30);
      assert.equal(await each.expect("other", programDigest), 88);
      assert.equal(await each.expect("tenant", "another program"), null);
    }
  });
});
