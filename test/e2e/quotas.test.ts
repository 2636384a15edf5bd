import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { Longshore, QuotaExceeded, type Task } from "@longshore/client";
import { Wait_Kind } from "@longshore/proto/longshore/v1/task";
import { writePrices } from "../support/prices.ts";
import { runCli } from "../support/run-cli.ts";
import { type RunningServer, startServer, whyNoServer } from "../support/running-server.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";

/** A CPU costs 3.6 EUR an hour, so that half a CPU has used this up after four seconds. */
const QUOTAS = {
  default: { cpu: "1", stored_bytes: "100KB", monthly_spend: "0.002", when_spent: "stop_running" },
};

describe("quotas, on the real server", { skip: (await whyNoServer()) ?? false }, () => {
  let settings: TemporaryFolder;
  let server: RunningServer;
  let client: Longshore;
  before(async () => {
    settings = await TemporaryFolder.create();
    const quotas = join(settings.path, "quotas.json");
    await writeFile(quotas, JSON.stringify(QUOTAS));
    server = await startServer({
      LONGSHORE_PRICES: await writePrices(settings.path),
      LONGSHORE_QUOTAS: quotas,
    });
    client = new Longshore(server.address);
  });
  after(async () => {
    client?.close();
    await server?.[Symbol.asyncDispose]();
    await settings?.[Symbol.asyncDispose]();
  });

  test("an upload and a task that can never fit are refused with what is used and allowed", async () => {
    const at = { server: server.address };
    const large = await runCli(["run", "--code", "print(1)", "--cpu", "1.5"], at);
    assert.equal(large.code, 1);
    assert.match(large.stderr, /1\.5 CPU asked, tenant \S+ may hold 1 CPU at once/);
    const bytes = Buffer.alloc(200 * 1024, "x");
    await assert.rejects(client.blobs.upload(bytes), (error) => {
      assert.ok(error instanceof QuotaExceeded, String(error));
      assert.equal(error.metadata.quota, "stored_bytes");
      assert.deepEqual([error.metadata.used, error.metadata.allowed], ["0", String(100 * 1024)]);
      assert.equal(error.violations[0]?.subject, "stored_bytes");
      return true;
    });
  });

  test("a task over what its tenant holds waits and says so, and the budget ends what runs", async () => {
    const options = { cpu: 0.5, ram: "64MB", storage: "64MB", timeout: "5m" };
    const sleep = { code: "import time; print('up', flush=True); time.sleep(300)" };
    const running = await client.submit(sleep, options);
    const waiting = await client.submit(sleep, { ...options, cpu: 0.6 });
    const why = await firstQuota(waiting);
    assert.match(why, /waiting for 0\.6 CPU of the tenant's quota \(0\.5 CPU of 1 CPU free\)/);
    const outcome = await running.result({ reject: false });
    assert.equal(outcome.reason, "BUDGET_EXCEEDED");
    assert.match(outcome.message, /ended by the server: the tenant's budget for this month is used up/);
    assert.equal(outcome.stdoutTail, "up\n");
    assert.ok((outcome.record.cost?.nanos ?? 0) >= 2_000_000, "what it ran is charged");
    const refused = await runCli(["run", "--code", "print(1)"], { server: server.address });
    assert.equal(refused.code, 1);
    assert.match(
      refused.stderr,
      /EUR 0\.00\d+ of this month's budget of EUR 0\.002 are spent; the next begins at \d{4}-\d{2}-01T/,
    );
    const { stdout } = await runCli(["quota"], { server: server.address });
    assert.match(
      stdout,
      /^QUOTA +USED +OF +ANEW\ncpu +0 CPU +1 CPU\nstored bytes +0 bytes +100 kB\nmonthly spend +€0\.002\d* +€0\.0020 +\d{4}-\d{2}-01\n$/,
    );
    const { wait } = await waiting.get();
    assert.match(wait?.message ?? "", /of this month's budget/);
    await waiting.cancel();
  });
});

async function firstQuota(task: Task): Promise<string> {
  for await (const event of task.watch({ logs: false }))
    if (event.kind === "task" && event.task.wait?.kind === Wait_Kind.QUOTA) return event.task.wait.message;
  throw new Error("the task ended first");
}
