import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import { SystemFault } from "#server/domain/errors.ts";
import type { ReconcileReport } from "#server/domain/reconcile-report.ts";
import { isFinished } from "#server/domain/transition.ts";
import { ApplicationBench, CALLER } from "../support/application-bench.ts";

const INTERVAL_MILLIS = 15_000;

/** Makes the next comparison of record and host happen now, and answers its report. */
async function compare(context: TestContext, bench: ApplicationBench): Promise<ReconcileReport> {
  const { passCount } = await bench.application.getReconcileReport();
  context.mock.timers.tick(INTERVAL_MILLIS);
  for (;;) {
    const report = await bench.application.getReconcileReport();
    if (report.passCount > passCount) return report;
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
}

describe("the comparison of record and host", () => {
  test("removes a sandbox that nobody named twice in a row, and its files, but nothing that is under way", async (context) => {
    context.mock.timers.enable({ apis: ["setInterval"] });
    await using bench = await ApplicationBench.open();
    const { id } = await bench.create({ code: "import time; time.sleep(600)", timeoutMillis: 3_600_000 });
    const running = await bench.until(id, (task) => task.state === "RUNNING");
    const shape = {
      imageDigest: "",
      isolation: "CONTAINER",
      network: "NONE",
      limits: running.limits,
      gpuIds: [],
    } as const;
    const idle = await bench.engine.warmUp(shape);
    const order = { sandboxId: "01STRAYSANDBOX000000000000", taskId: "gone", attempt: 1, shape };
    await bench.engine.create(order, new AbortController().signal);
    assert.equal((await compare(context, bench)).removalCount, 0);
    const report = await compare(context, bench);
    assert.deepEqual(
      report.removals.map(({ kind, name }) => [kind, name]),
      [
        ["SANDBOX", order.sandboxId],
        ["FILES", order.sandboxId],
      ],
    );
    assert.equal((await compare(context, bench)).removalCount, 2);
    assert.deepEqual(
      new Set((await bench.engine.list()).map((sandbox) => sandbox.id)),
      new Set([idle, running.attempts[0]?.sandboxId]),
    );
    await bench.application.cancelTask(CALLER, id, "", 0);
    await bench.finished(id);
  });

  test("does a cleanup again that failed", async (context) => {
    context.mock.timers.enable({ apis: ["setInterval"] });
    await using bench = await ApplicationBench.open();
    bench.engine.failNext("release", new SystemFault("busy"));
    const { id } = await bench.create({ code: "print(1)" });
    await bench.until(id, (task) => task.state === "SUCCEEDED");
    const failed = () => bench.log.lines.some((line) => line.startsWith("cleanup failed"));
    while (!failed()) await new Promise<void>((resolve) => setImmediate(resolve));
    const before = await bench.database.tasks.get(id);
    assert.ok(before !== undefined && !isFinished(before));
    await compare(context, bench);
    await bench.finished(id);
    assert.deepEqual(await bench.engine.list(), []);
  });

  test("leaves no admission to a full disk, and takes up again when there is room", async (context) => {
    context.mock.timers.enable({ apis: ["setInterval"] });
    await using bench = await ApplicationBench.open();
    const refused = async () => {
      try {
        await bench.create({ code: "print(1)" });
        return undefined;
      } catch (error) {
        assert.ok(error instanceof Error);
        return error.message;
      }
    };
    bench.freeBytes = 2 ** 20 - 1;
    context.mock.timers.tick(1000);
    let sentence = await refused();
    while (sentence === undefined) sentence = await refused();
    assert.match(sentence, /disk is nearly full: less than the 1 MB/);
    // A little more is not enough: it would be full again at once.
    bench.freeBytes = 2 ** 20;
    context.mock.timers.tick(1000);
    assert.notEqual(await refused(), undefined);
    bench.freeBytes = 2 ** 21;
    context.mock.timers.tick(1000);
    while ((await refused()) !== undefined) await new Promise<void>((resolve) => setImmediate(resolve));
  });
});
