import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { UsageFilter, UsageSumRequest } from "#server/application/api.ts";
import { amountOf } from "#server/domain/charge.ts";
import { InvalidRequest, NeverFits } from "#server/domain/errors.ts";
import type { LedgerEntry } from "#server/domain/ledger.ts";
import { PriceBook } from "#server/domain/price-book.ts";
import type { TaskSpec } from "#server/domain/task.ts";
import { ApplicationBench, CALLER } from "../support/application-bench.ts";
import { SAMPLE_SPEC } from "../support/sample-task.ts";

const PRICES = {
  cpuHourNanos: 36_000_000_000n,
  ramGbHourNanos: 3_600_000_000n,
  storageGbHourNanos: 0n,
  gpuHourNanos: new Map<string, bigint>(),
};
const prices = new PriceBook("EUR", [{ from: null, until: null, prices: PRICES }]);
const ALL: UsageFilter = { from: null, to: null, owner: "", labels: {} };
const ask = (changes: Partial<UsageSumRequest> = {}): UsageSumRequest => ({
  filter: ALL,
  grouping: null,
  pageSize: 100,
  pageToken: "",
  violations: [],
  ...changes,
});

async function withTasks(count: number): Promise<ApplicationBench> {
  const bench = await ApplicationBench.open({ prices });
  for (let n = 0; n < count; n++) {
    const labels: Record<string, string> = n % 2 === 0 ? { team: "ml" } : {};
    const { id } = await bench.create({ code: "print()", labels });
    await bench.finished(id);
  }
  return bench;
}

describe("usage", () => {
  test("sums, groups and rows agree, page after page", async () => {
    await using bench = await withTasks(5);
    const { application } = bench;
    const rows: LedgerEntry[] = [];
    let token = "";
    do {
      const page = await application.listUsage(CALLER, ask({ pageSize: 2, pageToken: token }));
      rows.push(...page.entries);
      token = page.nextPageToken;
    } while (token !== "");
    assert.equal(rows.length, 5);
    const spent = rows.reduce((sum, { usage }) => sum + (usage.charge?.nanos ?? 0n), 0n);
    const { total } = await application.getUsage(CALLER, ask());
    assert.deepEqual([total?.attempts, total?.costs], [5, [{ currency: "EUR", nanos: spent }]]);
    const byTask = [];
    do {
      const request = ask({ grouping: { by: "task" }, pageSize: 2, pageToken: token });
      const page = await application.getUsage(CALLER, request);
      assert.equal(page.total === null, token !== "", "the total comes with the first page alone");
      byTask.push(...page.groups);
      token = page.nextPageToken;
    } while (token !== "");
    assert.deepEqual(
      byTask.map(({ key, sum }) => [key, sum.costs[0]?.nanos]),
      rows.map(({ taskId, usage }) => [taskId, usage.charge?.nanos]).sort(),
    );
    const byTeam = await application.getUsage(CALLER, ask({ grouping: { by: "label", label: "team" } }));
    assert.deepEqual(
      byTeam.groups.map(({ key, sum }) => [key, sum.attempts]),
      [
        ["", 2],
        ["ml", 3],
      ],
    );
  });

  test("of another tenant and of last month are not told", async () => {
    await using bench = await withTasks(1);
    const { application } = bench;
    const other = { ...CALLER, tenant: "other" };
    assert.equal((await application.getUsage(other, ask())).total?.attempts, 0);
    assert.deepEqual((await application.listUsage(other, ask())).entries, []);
    bench.aheadMillis = 32 * 86_400_000;
    assert.equal((await application.getUsage(CALLER, ask())).total?.attempts, 0, "this month by default");
    const since = ask({ filter: { ...ALL, from: new Date(0) } });
    assert.equal((await application.getUsage(CALLER, since)).total?.attempts, 1);
  });

  test("is refused with everything that is wrong with the question", async () => {
    await using bench = await withTasks(2);
    const { application } = bench;
    const reversed = { ...ALL, from: new Date(2), to: new Date(1) };
    await assert.rejects(application.listUsage(CALLER, ask({ filter: reversed })), InvalidRequest);
    const { nextPageToken } = await application.listUsage(CALLER, ask({ pageSize: 1 }));
    assert.notEqual(nextPageToken, "");
    const other = { ...ALL, owner: "ben" };
    for (const request of [{ pageToken: "x" }, { pageToken: nextPageToken, filter: other }])
      await assert.rejects(application.listUsage(CALLER, ask(request)), InvalidRequest);
  });
});

describe("an estimate", () => {
  const estimate = (bench: ApplicationBench, spec: Partial<TaskSpec>) =>
    bench.application.estimateCost(CALLER, {
      spec: { ...SAMPLE_SPEC, requestId: "", ...spec },
      secrets: {},
      violations: [],
    });
  const resources = { cpu: "2", gpu: "", ram: "1GB", storage: "", gpuModel: "" };

  test("is the timeout times the prices, and what a task then costs is not above it", async () => {
    await using bench = await ApplicationBench.open({ prices });
    const { limits, most, longestMillis } = await estimate(bench, { resources, timeoutMillis: 3_600_000 });
    assert.equal(longestMillis, 3_600_000);
    assert.equal(most?.nanos, 2n * 36_000_000_000n + 3_600_000_000n);
    const unit = { ...PRICES, gpus: [] };
    assert.equal(most?.nanos, amountOf(unit, limits, longestMillis));
    const ended = await bench.create({ code: "while True: pass", resources, timeoutMillis: 100 });
    const task = await bench.finished(ended.id);
    const bound = await estimate(bench, { resources, timeoutMillis: 100 });
    assert.equal(task.result?.reason, "TIMED_OUT");
    assert.equal(task.attempts[0]?.usage?.charge?.nanos, bound.most?.nanos);
  });

  test("needs no archive and stores nothing", async () => {
    await using bench = await ApplicationBench.open({ prices });
    const { limits } = await estimate(bench, { code: "", entrypoint: "train.py", resources });
    assert.equal(limits.cpuMillis, 2000);
    assert.deepEqual((await bench.application.listUsage(CALLER, ask())).entries, []);
    assert.deepEqual(await bench.database.tasks.unfinished(), []);
  });

  test("is refused as the task would be", async () => {
    await using bench = await ApplicationBench.open({ prices });
    const wrong = { ...resources, ram: "512" };
    await assert.rejects(estimate(bench, { resources: wrong, priority: 1000 }), (error) => {
      assert.ok(error instanceof InvalidRequest);
      assert.deepEqual(error.violations.map(({ field }) => field).sort(), ["priority", "resources.ram"]);
      return true;
    });
    await assert.rejects(estimate(bench, { resources: { ...resources, cpu: "512" } }), NeverFits);
  });

  test("knows what was learnt from earlier runs, and what the client says before that", async () => {
    await using bench = await ApplicationBench.open({ prices });
    const code = "import time; time.sleep(0.05)";
    assert.equal((await estimate(bench, { code, resources })).expected, null);
    const { id } = await bench.create({ code, resources });
    await bench.finished(id);
    const learnt = await estimate(bench, { code, resources });
    assert.ok((learnt.expectedMillis ?? 0) >= 50 && (learnt.expected?.nanos ?? 0n) > 0n);
    const said = await estimate(bench, { code, resources, expectedDurationMillis: 1000 });
    assert.equal(said.expected?.nanos, (2n * 36_000_000_000n + 3_600_000_000n) / 3600n);
  });

  test("has no amounts where nothing has a price", async () => {
    await using bench = await ApplicationBench.open();
    const { most, limits } = await estimate(bench, { resources });
    assert.deepEqual([most, limits.cpuMillis], [null, 2000]);
  });
});
