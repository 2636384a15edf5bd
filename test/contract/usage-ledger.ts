import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { amountOf, sumMoney } from "#server/domain/charge.ts";
import type { LedgerEntry } from "#server/domain/ledger.ts";
import type { TaskStore } from "#server/domain/ports/task-store.ts";
import type { Grouping, LedgerRange, UsageLedger } from "#server/domain/ports/usage-ledger.ts";
import { NO_USAGE, type ResultReason, type Task, type Usage } from "#server/domain/task.ts";
import { apply } from "#server/domain/transition.ts";
import { SAMPLE_RESULT, sampleAttempt, sampleTask } from "../support/sample-task.ts";

export interface LedgerStores extends AsyncDisposable {
  readonly tasks: TaskStore;
  readonly ledger: UsageLedger;
}

const ALWAYS: LedgerRange = {
  tenant: "tenant",
  owner: "",
  labels: {},
  from: new Date(0),
  to: new Date("9999-01-01"),
};
const NOON = Date.parse("2026-11-21T12:00:00Z");

/** One attempt that held its task's resources for so long, at these prices. */
interface Try {
  readonly startMillis: number;
  readonly heldMillis: number;
  readonly fault: boolean;
  readonly currency: string;
  readonly cpuHourNanos: bigint;
  readonly ramGbHourNanos: bigint;
  readonly gpuHourNanos: bigint;
}

function usageOf(task: Task, one: Try): Usage {
  const chargedMillis = one.fault ? 0 : one.heldMillis;
  const gpus =
    task.limits.gpuCount === 0
      ? []
      : [{ model: "T4", count: task.limits.gpuCount, hourNanos: one.gpuHourNanos }];
  const prices = {
    cpuHourNanos: one.cpuHourNanos,
    ramGbHourNanos: one.ramGbHourNanos,
    storageGbHourNanos: 1n,
    gpus,
  };
  const nanos = amountOf(prices, task.limits, chargedMillis);
  const charge = { ...prices, currency: one.currency, nanos };
  return { ...NO_USAGE, cpuMicros: one.heldMillis * 7, peakRamBytes: one.heldMillis, chargedMillis, charge };
}

/** Goes through the attempts as a server does; all but the last are tried again. */
async function bill(tasks: TaskStore, queued: Task, tries: readonly Try[]): Promise<Task> {
  await tasks.insert(queued);
  let task = queued;
  const change = async (what: Parameters<typeof apply>[1]) => {
    const next = apply(task, what);
    await tasks.save(next, task);
    task = next;
  };
  for (const [index, one] of tries.entries()) {
    const startTime = new Date(one.startMillis);
    const time = new Date(one.startMillis + one.heldMillis);
    await change({ kind: "start", attempt: sampleAttempt(index + 1, { startTime }) });
    await change({ kind: "run", time: startTime });
    const reason: ResultReason = one.fault ? "LOST" : "EXITED";
    const end = { time, result: { ...SAMPLE_RESULT, reason }, usage: usageOf(task, one), runTime: null };
    if (index < tries.length - 1) await change({ kind: "retry", ...end });
    else await change({ kind: "end", ...end, expireTime: time });
    await change({ kind: "release", attempt: index + 1 });
  }
  return task;
}

const aTry = (changes: Partial<Try> = {}): Try => ({
  startMillis: NOON,
  heldMillis: 3_600_000,
  fault: false,
  currency: "USD",
  cpuHourNanos: 10n ** 9n,
  ramGbHourNanos: 10n ** 9n,
  gpuHourNanos: 10n ** 9n,
  ...changes,
});

/** What every UsageLedger must do beside its TaskStore; `open` answers empty ones. */
export function usageLedgerContract(name: string, open: () => Promise<LedgerStores>): void {
  describe(`UsageLedger: ${name}`, () => {
    entryTests(open);
    pageTests(open);
    propertyTests(open);
  });
}

function entryTests(open: () => Promise<LedgerStores>): void {
  test("the end of an attempt writes an entry, and no other change does", async () => {
    await using stores = await open();
    const queued = sampleTask(1, {}, { labels: { team: "ml", ["__proto__"]: "kept" } });
    const task = await bill(stores.tasks, queued, [aTry({ fault: true }), aTry()]);
    const entries = await stores.ledger.list(ALWAYS, 10, null);
    assert.deepEqual(
      entries.map(({ attempt, reason, usage }) => [attempt, reason, usage.chargedMillis]),
      [
        [2, "EXITED", 3_600_000],
        [1, "LOST", 0],
      ],
    );
    const [last] = task.attempts.slice(-1);
    const { cpuMillis, ramBytes, storageBytes, gpuCount } = task.limits;
    assert.deepEqual(entries[0], {
      taskId: task.id,
      attempt: 2,
      tenant: "tenant",
      owner: "owner",
      labels: queued.spec.labels,
      runStartTime: last?.runStartTime,
      endTime: last?.endTime,
      reason: "EXITED",
      resources: { cpuMillis, ramBytes, storageBytes, gpuCount },
      usage: last?.usage,
    } satisfies Record<keyof LedgerEntry, unknown>);
    const [group] = await stores.ledger.sums(ALWAYS, { by: "all" }, 1, null);
    // 2 CPU and half a GB at 1 USD an hour each, and 1 GB of disk for next to nothing.
    assert.deepEqual(group?.sum.costs, [{ currency: "USD", nanos: 2_500_000_001n }]);
  });

  test("an entry outlives its task", async () => {
    await using stores = await open();
    const task = await bill(stores.tasks, sampleTask(1, {}, { labels: { team: "ml" } }), [aTry()]);
    const before = await stores.ledger.list(ALWAYS, 10, null);
    await stores.tasks.remove(task.id);
    assert.deepEqual(await stores.ledger.list(ALWAYS, 10, null), before);
    const groups = await stores.ledger.sums(ALWAYS, { by: "label", label: "team" }, 10, null);
    assert.deepEqual(
      groups.map(({ key }) => key),
      ["ml"],
    );
  });

  test("tenants do not see each other's entries", async () => {
    await using stores = await open();
    await bill(stores.tasks, sampleTask(1, { tenant: "other" }), [aTry()]);
    assert.deepEqual(await stores.ledger.list(ALWAYS, 10, null), []);
    assert.deepEqual(await stores.ledger.sums(ALWAYS, { by: "all" }, 10, null), []);
    const spent = await stores.ledger.spent(new Date(NOON), "USD");
    assert.deepEqual([...spent.keys()], ["other"]);
  });

  test("a task that ends without an attempt has no entry", async () => {
    await using stores = await open();
    const queued = sampleTask(1);
    await stores.tasks.insert(queued);
    const time = new Date(NOON);
    const result = { ...SAMPLE_RESULT, reason: "CANCELLED" } as const;
    const end = { kind: "end", time, result, usage: null, runTime: null, expireTime: time } as const;
    await stores.tasks.save(apply(queued, end), queued);
    assert.deepEqual(await stores.ledger.list(ALWAYS, 10, null), []);
  });
}

function pageTests(open: () => Promise<LedgerStores>): void {
  test("pages of entries go from the latest to the oldest without gap or repetition", async () => {
    await using stores = await open();
    for (let place = 1; place <= 4; place++) {
      // Two end at the same moment, two tasks have two attempts.
      const startMillis = NOON + (place >> 1) * 1000;
      await bill(
        stores.tasks,
        sampleTask(place),
        place % 2 === 0
          ? [aTry({ startMillis })]
          : [aTry({ startMillis, fault: true }), aTry({ startMillis })],
      );
    }
    const all = await stores.ledger.list(ALWAYS, 100, null);
    assert.equal(all.length, 6);
    const paged: LedgerEntry[] = [];
    for (;;) {
      const page = await stores.ledger.list(ALWAYS, 2, paged.at(-1) ?? null);
      paged.push(...page);
      if (page.length < 2) break;
    }
    assert.deepEqual(paged, all);
    const times = all.map(({ endTime }) => endTime.getTime());
    assert.deepEqual(
      times,
      times.toSorted((a, b) => b - a),
    );
  });

  test("owner, labels and time restrict", async () => {
    await using stores = await open();
    await bill(stores.tasks, sampleTask(1, { owner: "ana" }, { labels: { team: "ml", x: "1" } }), [aTry()]);
    await bill(stores.tasks, sampleTask(2, { owner: "ben" }, { labels: { team: "ml" } }), [aTry()]);
    await bill(stores.tasks, sampleTask(3, { owner: "ben" }), [aTry({ startMillis: NOON + 86_400_000 })]);
    const places = async (range: Partial<LedgerRange>) =>
      (await stores.ledger.list({ ...ALWAYS, ...range }, 10, null)).map(({ taskId }) =>
        Number(taskId.slice(4)),
      );
    assert.deepEqual(await places({ owner: "ben" }), [3, 2]);
    assert.deepEqual(await places({ labels: { team: "ml" } }), [2, 1]);
    assert.deepEqual(await places({ labels: { team: "ml", x: "1" } }), [1]);
    const end = new Date(NOON + 3_600_000);
    assert.deepEqual(await places({ to: end }), [], "the end of a range does not belong to it");
    assert.deepEqual(await places({ from: end, to: new Date(end.getTime() + 1) }), [2, 1]);
  });
}

const arbitraryTry: fc.Arbitrary<Try> = fc.record({
  startMillis: fc.integer({ min: NOON, max: NOON + 5 * 86_400_000 }),
  heldMillis: fc.nat(90_000_000),
  fault: fc.boolean(),
  currency: fc.constantFrom("USD", "EUR", ""),
  cpuHourNanos: fc.bigInt({ min: 0n, max: 10n ** 12n }),
  ramGbHourNanos: fc.bigInt({ min: 0n, max: 10n ** 12n }),
  gpuHourNanos: fc.bigInt({ min: 0n, max: 10n ** 14n }),
});

const arbitraryBill = fc.record({
  owner: fc.constantFrom("ana", "ben"),
  team: fc.constantFrom("", "ml", "ops"),
  gpuCount: fc.nat(2),
  cpuMillis: fc.integer({ min: 10, max: 64_000 }),
  ramBytes: fc.integer({ min: 2 ** 25, max: 2 ** 40 }),
  tries: fc.array(arbitraryTry, { minLength: 1, maxLength: 4 }),
});

function propertyTests(open: () => Promise<LedgerStores>): void {
  test("any sequence of attempts bills exactly the sum of its intervals, however it is added up", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(arbitraryBill, { maxLength: 6 }), async (bills) => {
        await using stores = await open();
        const expected = new Map<
          string,
          { ram: bigint; gpu: bigint; costs: { currency: string; nanos: bigint }[] }
        >();
        for (const [place, { owner, team, gpuCount, cpuMillis, ramBytes, tries }] of bills.entries()) {
          const labels: Record<string, string> = team === "" ? {} : { team };
          const base = sampleTask(place, { owner }, { labels });
          const task = { ...base, limits: { ...base.limits, gpuCount, cpuMillis, ramBytes } };
          await bill(stores.tasks, task, tries);
          for (const one of tries) {
            const { chargedMillis, charge } = usageOf(task, one);
            const day = new Date(one.startMillis + one.heldMillis).toISOString().slice(0, 10);
            for (const key of ["all ", `day ${day}`, `task ${task.id}`, `owner ${owner}`, `label ${team}`]) {
              const sum = expected.get(key) ?? { ram: 0n, gpu: 0n, costs: [] };
              sum.ram += BigInt(ramBytes) * BigInt(chargedMillis);
              sum.gpu += BigInt(gpuCount) * BigInt(chargedMillis);
              sum.costs.push({ currency: charge?.currency ?? "", nanos: charge?.nanos ?? 0n });
              expected.set(key, sum);
            }
          }
        }
        const found = new Map<string, unknown>();
        const groupings: Grouping[] = [
          { by: "all" },
          { by: "day" },
          { by: "task" },
          { by: "owner" },
          { by: "label", label: "team" },
        ];
        for (const grouping of groupings) {
          let after: string | null = null;
          for (;;) {
            const page = await stores.ledger.sums(ALWAYS, grouping, 2, after);
            for (const { key, sum } of page) {
              const gpu = sum.gpuMillis.get("T4") ?? 0n;
              found.set(`${grouping.by} ${key}`, { ram: sum.ramByteMillis, gpu, costs: sum.costs });
            }
            const last = page.at(-1);
            if (page.length < 2 || last === undefined) break;
            after = last.key;
          }
        }
        const wanted = [...expected].map(
          ([key, sum]) => [key, { ...sum, costs: sumMoney(sum.costs) }] as const,
        );
        assert.deepEqual(found, new Map(wanted));
      }),
      { numRuns: 15 },
    );
  });
}
