import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { amountOf, costOf } from "#server/domain/charge.ts";
import { Unavailable } from "#server/domain/errors.ts";
import type { LedgerEntry } from "#server/domain/ledger.ts";
import type { TaskStore } from "#server/domain/ports/task-store.ts";
import { PriceBook } from "#server/domain/price-book.ts";
import { isTerminal, type Task } from "#server/domain/task.ts";
import { ApplicationBench, CALLER } from "../support/application-bench.ts";

const PRICES = {
  cpuHourNanos: 36_000_000_000n,
  ramGbHourNanos: 3_600_000_000n,
  storageGbHourNanos: 360_000_000n,
  gpuHourNanos: new Map<string, bigint>(),
};
const prices = new PriceBook("EUR", [{ from: null, until: null, prices: PRICES }]);
const ALWAYS = {
  tenant: CALLER.tenant,
  owner: "",
  labels: {},
  from: new Date(0),
  to: new Date("9999-01-01"),
};
const WAITING = { code: "import time; time.sleep(3600)", timeoutMillis: 3_600_000 };
const isRunning = (task: Task) => task.state === "RUNNING";
const entriesOf = (bench: ApplicationBench): Promise<LedgerEntry[]> =>
  bench.database.ledger.list(ALWAYS, 100, null);

function runMillis(task: Task): number {
  const run = task.stages.find(({ name }) => name === "run");
  return run?.endTime == null ? 0 : run.endTime.getTime() - run.startTime.getTime();
}

describe("billing", () => {
  test("charges the time in which the code ran, and writes the same into record and ledger", async () => {
    await using bench = await ApplicationBench.open({ prices });
    const { id } = await bench.create({ code: "import time; time.sleep(0.05)", labels: { team: "ml" } });
    const task = await bench.finished(id);
    const [entry, ...more] = await entriesOf(bench);
    assert.deepEqual(more, []);
    assert.deepEqual(entry?.usage, task.attempts[0]?.usage);
    assert.equal(entry?.usage.chargedMillis, runMillis(task));
    assert.ok(runMillis(task) >= 50);
    const unit = { ...PRICES, gpus: [] };
    assert.deepEqual(costOf(task), { currency: "EUR", nanos: amountOf(unit, task.limits, runMillis(task)) });
    assert.deepEqual(entry?.labels, { team: "ml" });
  });

  test("costs nothing where nothing has a price, and the ledger has the amounts all the same", async () => {
    await using bench = await ApplicationBench.open();
    const { id } = await bench.create({ code: "print()" });
    assert.equal(costOf(await bench.finished(id)), null);
    assert.equal((await entriesOf(bench)).length, 1);
  });

  test("grows while the task runs", async () => {
    await using bench = await ApplicationBench.open({ prices });
    const { id } = await bench.create(WAITING);
    await bench.until(id, isRunning);
    bench.aheadMillis = 60_000;
    const early = costOf(await bench.application.getTask(CALLER, id))?.nanos ?? 0n;
    bench.aheadMillis = 120_000;
    const late = costOf(await bench.application.getTask(CALLER, id))?.nanos ?? 0n;
    assert.ok(early > 0n && late > early + early / 2n, `${early} then ${late}`);
    await bench.application.cancelTask(CALLER, id, "", 0);
    await bench.finished(id);
  });

  test("takes nothing for faults of the system", async () => {
    await using bench = await ApplicationBench.open({ prices });
    const { id } = await bench.create({ ...WAITING, maxAttempts: 2 });
    const first = await bench.until(id, isRunning);
    await bench.engine.vanish(first.attempts[0]?.sandboxId ?? "");
    await bench.until(id, (task) => task.attempts.length === 2 && isRunning(task));
    await bench.application.cancelTask(CALLER, id, "", 0);
    await bench.finished(id);
    const entries = await entriesOf(bench);
    assert.deepEqual(
      entries.map(({ attempt, reason, usage }) => [attempt, reason, (usage.charge?.nanos ?? 0n) > 0n]),
      [
        [2, "CANCELLED", true],
        [1, "LOST", false],
      ],
    );
  });

  test("never charges longer than the timeout", async () => {
    await using bench = await ApplicationBench.open({ prices });
    const { id } = await bench.create({ ...WAITING, timeoutMillis: 100 });
    const task = await bench.finished(id);
    assert.equal(task.result?.reason, "TIMED_OUT");
    assert.equal((await entriesOf(bench))[0]?.usage.chargedMillis, 100);
  });

  test("an old row keeps its prices when the book changes", async () => {
    await using bench = await ApplicationBench.open({ prices });
    const { id } = await bench.create({ code: "import time; time.sleep(0.02)" });
    await bench.finished(id);
    const before = await entriesOf(bench);
    await bench.stop();
    const dearer = { ...PRICES, cpuHourNanos: 10n ** 12n };
    await bench.start({ prices: new PriceBook("USD", [{ from: null, until: null, prices: dearer }]) });
    assert.deepEqual(await entriesOf(bench), before);
    assert.equal(costOf(await bench.application.getTask(CALLER, id))?.currency, "EUR");
  });

  test("a restart around the end of an attempt loses no row and doubles none", async () => {
    await using bench = await ApplicationBench.open({ prices });
    const ids: string[] = [];
    for (let n = 0; n < 12; n++) {
      const { id } = await bench.create({ code: "import time; time.sleep(0.2)" });
      ids.push(id);
    }
    for (let round = 0; round < 4; round++) {
      const latest = ids[Math.min(ids.length - 1, round * 3)] ?? "";
      await bench.until(latest, (task) => isRunning(task) || isTerminal(task.state)).catch(() => undefined);
      await bench.stop();
      await bench.start({ prices });
    }
    const tasks = await Promise.all(ids.map((id) => bench.finished(id)));
    const entries = new Map(
      (await entriesOf(bench)).map((entry) => [`${entry.taskId} ${entry.attempt}`, entry]),
    );
    const attempts = tasks.flatMap((task) => task.attempts.map((attempt) => ({ task, attempt })));
    assert.deepEqual(
      [...entries.keys()].sort(),
      attempts.map(({ task, attempt }) => `${task.id} ${attempt.number}`).sort(),
    );
    for (const { task, attempt } of attempts)
      assert.deepEqual(entries.get(`${task.id} ${attempt.number}`)?.usage, attempt.usage);
  });

  test("a commit that failed after it was made is billed once", async () => {
    await using bench = await ApplicationBench.open();
    await bench.stop();
    const inner = bench.database.tasks;
    let failures = 0;
    const save = async (next: Task, previous: Task): Promise<void> => {
      await inner.save(next, previous);
      if (isTerminal(next.state) && !isTerminal(previous.state) && failures++ === 0)
        throw new Unavailable("the database is locked");
    };
    const store: TaskStore = new Proxy(inner, {
      get(target, name) {
        const member: unknown = name === "save" ? save : Reflect.get(target, name);
        return typeof member === "function" ? member.bind(target) : member;
      },
    });
    await bench.start({ store, prices });
    const { id } = await bench.create({ code: "print()" });
    await bench.finished(id);
    assert.equal(failures, 1);
    assert.equal((await entriesOf(bench)).length, 1);
  });

  test("an answer from an earlier result is free", async () => {
    await using bench = await ApplicationBench.open({ prices });
    const spec = { code: "print('once')", useResultCache: true };
    const first = await bench.create(spec);
    await bench.finished(first.id);
    const again = await bench.create(spec);
    assert.equal((await bench.application.getTask(CALLER, again.id)).cachedFrom, first.id);
    assert.deepEqual(
      (await entriesOf(bench)).map(({ taskId }) => taskId),
      [first.id],
    );
    assert.equal(costOf(await bench.application.getTask(CALLER, again.id)), null);
  });
});
