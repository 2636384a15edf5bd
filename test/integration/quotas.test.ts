import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { describe, test } from "node:test";
import { QuotaExceeded } from "#server/domain/errors.ts";
import { PriceBook } from "#server/domain/price-book.ts";
import { NO_QUOTA, type Quota, Quotas } from "#server/domain/quota.ts";
import { isTerminal, type Task, type TaskSpec } from "#server/domain/task.ts";
import { ApplicationBench, CALLER } from "../support/application-bench.ts";
import { SAMPLE_SPEC } from "../support/sample-task.ts";

/** A CPU costs a unit each second: budgets run out while one looks. */
const prices = new PriceBook("EUR", [
  {
    from: null,
    until: null,
    prices: {
      cpuHourNanos: 3600n * 10n ** 9n,
      ramGbHourNanos: 0n,
      storageGbHourNanos: 0n,
      gpuHourNanos: new Map(),
    },
  },
]);
const SECOND = 10n ** 9n;
const cpus = (cpu: string) => ({ cpu, gpu: "", ram: "64MB", storage: "", gpuModel: "" });
const WAITING = { code: "import time; time.sleep(3600)", timeoutMillis: 3_600_000, resources: cpus("1") };
const quotasOf = (quota: Partial<Quota>) => ({
  prices,
  quotas: new Quotas(NO_QUOTA, new Map([[CALLER.tenant, { ...NO_QUOTA, ...quota }]])),
});
const isRunning = (task: Task) => task.state === "RUNNING";
const OTHER = { ...CALLER, tenant: "other" };

const createFor = (bench: ApplicationBench, caller: typeof CALLER, spec: Partial<TaskSpec>) =>
  bench.application.createTask(caller, {
    spec: { ...SAMPLE_SPEC, requestId: "", labels: {}, ...spec },
    secrets: {},
    violations: [],
  });

async function cancelAll(bench: ApplicationBench, ...tasks: Task[]): Promise<void> {
  for (const { id, tenant } of tasks) await bench.application.cancelTask({ ...CALLER, tenant }, id, "", 0);
  for (const { id } of tasks) {
    for (;;) {
      const task = await bench.database.tasks.get(id);
      if (task === undefined || isTerminal(task.state)) break;
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
  }
}

function refusal(quota: string, facts: Readonly<Record<string, string | RegExp>> = {}) {
  return (error: unknown) => {
    assert.ok(error instanceof QuotaExceeded, String(error));
    assert.equal(error.subject, quota);
    for (const [key, value] of Object.entries(facts)) {
      if (typeof value === "string") assert.equal(error.metadata[key], value);
      else assert.match(error.metadata[key] ?? "", value);
    }
    return true;
  };
}

describe("quotas of a tenant", () => {
  test("on what it holds make tasks wait, say what is needed and left, and hold up nobody else", async () => {
    await using bench = await ApplicationBench.open(quotasOf({ cpuMillis: 2000 }));
    const first = await bench.create({ ...WAITING, resources: cpus("1.5") });
    await bench.until(first.id, isRunning);
    const second = await bench.create(WAITING);
    const waiting = await bench.until(second.id, (task) => task.wait?.kind === "QUOTA");
    assert.deepEqual(
      [waiting.wait?.limit, waiting.wait?.needed, waiting.wait?.available],
      ["CPU", 1000, 500],
    );
    assert.match(
      waiting.wait?.message ?? "",
      /waiting for 1 CPU of the tenant's quota \(0\.5 CPU of 2 CPU free\)/,
    );
    const small = await bench.create({ ...WAITING, resources: cpus("0.5") });
    await bench.until(small.id, isRunning);
    const others = [];
    // More than may overtake a task that waits for the host.
    for (let n = 0; n < 20; n++) {
      const { id } = await createFor(bench, OTHER, { code: "print()", resources: cpus("0.1") });
      others.push(id);
    }
    for (const id of others) {
      const ended = await bench.application.watchTask(
        OTHER,
        { id, cursor: "", follow: true, tailBytes: 0, logs: false },
        AbortSignal.timeout(60_000),
      );
      for await (const event of ended) if (event.kind === "task" && isTerminal(event.task.state)) break;
    }
    await cancelAll(bench, first);
    await bench.until(second.id, isRunning);
    await cancelAll(bench, second, small);
  });

  test("refuse at once what the tenant could never hold, naming all of it", async () => {
    await using bench = await ApplicationBench.open(quotasOf({ cpuMillis: 500, ramBytes: 2 ** 26 }));
    const resources = { ...cpus("1"), ram: "128MB" };
    await assert.rejects(bench.create({ ...WAITING, resources }), (error) => {
      assert.match(String(error), /resources\.cpu: 1 CPU asked.*resources\.ram: 128 MB RAM asked/);
      return refusal("cpu", { used: "1000", allowed: "500" })(error);
    });
    assert.deepEqual(await bench.database.tasks.unfinished(), []);
  });

  test("on queued tasks count requests that come at once, and let in again when one has started", async () => {
    await using bench = await ApplicationBench.open(quotasOf({ cpuMillis: 1000, queuedTasks: 2 }));
    const running = await bench.create(WAITING);
    await bench.until(running.id, isRunning);
    const outcomes = await Promise.allSettled(Array.from({ length: 6 }, () => bench.create(WAITING)));
    const taken = outcomes.flatMap((outcome) => (outcome.status === "fulfilled" ? [outcome.value] : []));
    assert.equal(taken.length, 2);
    for (const outcome of outcomes)
      if (outcome.status === "rejected") refusal("queued_tasks", { used: "2", allowed: "2" })(outcome.reason);
    await bench.stop();
    await bench.start(quotasOf({ cpuMillis: 1000, queuedTasks: 2 }));
    await assert.rejects(bench.create(WAITING), refusal("queued_tasks"), "also after a restart");
    await cancelAll(bench, running);
    const more = await bench.until(taken[0]?.id ?? "", isRunning).then(() => bench.create(WAITING));
    await cancelAll(bench, more, ...taken);
  });

  test("on a month's money refuse new tasks, make queued ones wait, and begin anew", async () => {
    const settings = quotasOf({ cpuMillis: 1000, monthlySpendNanos: SECOND / 5n });
    await using bench = await ApplicationBench.open(settings);
    const running = await bench.create(WAITING);
    await bench.until(running.id, isRunning);
    const queued = await bench.create(WAITING);
    const waiting = await bench.until(queued.id, (task) => task.wait?.limit === "QUOTA");
    assert.match(
      waiting.wait?.message ?? "",
      /of this month's budget of EUR 0\.20 are spent; the next begins at/,
    );
    const used = { used: /^EUR \d\./, allowed: "EUR 0.20", reset_time: /^\d{4}-\d{2}-01T00:00:00\.000Z$/ };
    await assert.rejects(bench.create(WAITING), refusal("monthly_spend", used));
    assert.equal((await bench.application.getTask(CALLER, running.id)).state, "RUNNING", "it goes on");
    await cancelAll(bench, running);
    await bench.stop();
    await bench.start(settings);
    await assert.rejects(bench.create(WAITING), refusal("monthly_spend"), "the ledger remembers");
    bench.aheadMillis = 32 * 86_400_000;
    const next = await bench.create({ ...WAITING, resources: cpus("0.1") });
    await bench.until(queued.id, isRunning);
    await cancelAll(bench, next, queued);
  });

  test("on a month's money end what runs where the operator wants that, and charge it", async () => {
    await using bench = await ApplicationBench.open(
      quotasOf({ monthlySpendNanos: SECOND / 5n, stopsRunning: true }),
    );
    const { id } = await bench.create(WAITING);
    const unlimited = await createFor(bench, OTHER, WAITING);
    const task = await bench.finished(id);
    assert.equal(task.result?.reason, "BUDGET_EXCEEDED");
    assert.equal(task.state, "FAILED");
    assert.equal(task.result?.termination?.killer, "SERVER");
    assert.equal(task.result?.termination?.limit, "QUOTA");
    const charged = task.attempts[0]?.usage?.charge?.nanos ?? 0n;
    assert.ok(charged >= SECOND / 5n && charged < 3n * SECOND, `${charged}`);
    assert.equal(task.attempts.length, 1, "it is not tried again");
    await cancelAll(bench, unlimited);
  });

  test("on a month's money end what ran on while the server was away", async () => {
    await using bench = await ApplicationBench.open({ prices });
    const { id } = await bench.create(WAITING);
    await bench.until(id, isRunning);
    await bench.stop();
    await bench.start(quotasOf({ monthlySpendNanos: 1n, stopsRunning: true }));
    assert.equal((await bench.finished(id)).result?.reason, "BUDGET_EXCEEDED");
  });

  test("tell how far each is used", async () => {
    const settings = { cpuMillis: 2000, queuedTasks: 9, storedBytes: 100, monthlySpendNanos: 1000n * SECOND };
    await using bench = await ApplicationBench.open(quotasOf(settings));
    const running = await bench.create({ ...WAITING, resources: cpus("1.5") });
    await bench.until(running.id, isRunning);
    const queued = await bench.create(WAITING);
    const states = new Map((await bench.application.getQuota(CALLER)).map((state) => [state.name, state]));
    assert.deepEqual(states.get("cpu"), { name: "cpu", used: 1500, allowed: 2000 });
    assert.deepEqual(states.get("queued_tasks"), { name: "queued_tasks", used: 1, allowed: 9 });
    assert.deepEqual(states.get("stored_bytes"), { name: "stored_bytes", used: 0, allowed: 100 });
    const money = states.get("monthly_spend");
    assert.ok(money !== undefined && "spent" in money && money.budget.nanos === 1000n * SECOND);
    assert.deepEqual(await bench.application.getQuota(OTHER), [], "nothing is limited");
    await cancelAll(bench, queued, running);
  });

  test("on stored bytes refuse uploads that do not fit before and while they come, and count each once", async () => {
    await using bench = await ApplicationBench.open(quotasOf({ storedBytes: 1000 }));
    const upload = (bytes: Buffer, announced: boolean) =>
      bench.application.uploadBlob(
        CALLER,
        {
          sha256: createHash("sha256").update(bytes).digest("hex"),
          sizeBytes: announced ? bytes.length : 0,
          offsetBytes: 0,
          format: "RAW",
        },
        Readable.from([bytes.subarray(0, 100), bytes.subarray(100)], { objectMode: true }),
        AbortSignal.timeout(10_000),
      );
    const first = Buffer.alloc(600, "a");
    assert.equal((await upload(first, true)).state, "STORED");
    assert.equal((await upload(first, true)).state, "STORED", "what is there needs no room");
    const facts = { used: "600", allowed: "1000" };
    for (const announced of [true, false])
      await assert.rejects(upload(Buffer.alloc(500, "b"), announced), refusal("stored_bytes", facts));
    const both = await Promise.allSettled([
      upload(Buffer.alloc(300, "c"), true),
      upload(Buffer.alloc(300, "d"), true),
    ]);
    assert.deepEqual(both.map(({ status }) => status).sort(), ["fulfilled", "rejected"]);
    assert.equal(await bench.database.blobs.storedBytes(CALLER.tenant), 900);
    assert.equal(
      (await upload(Buffer.alloc(100, "e"), true)).state,
      "STORED",
      "nothing is kept of what failed",
    );
  });
});
