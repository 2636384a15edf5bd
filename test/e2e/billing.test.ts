import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { Longshore, type Task, type UsageEntry } from "@longshore/client";
import { Task_State } from "@longshore/proto/longshore/v1/task";
import { writePrices } from "../support/prices.ts";
import { runCli } from "../support/run-cli.ts";
import { type RunningServer, startServer, whyNoServer } from "../support/running-server.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";

const NANOS = 1_000_000_000n;
const nanosOf = (money: { units: bigint; nanos: number } | undefined) =>
  money === undefined ? undefined : money.units * NANOS + BigInt(money.nanos);

describe("what tasks cost, on the real server", { skip: (await whyNoServer()) ?? false }, () => {
  let settings: TemporaryFolder;
  let server: RunningServer;
  let client: Longshore;
  before(async () => {
    settings = await TemporaryFolder.create();
    server = await startServer({ LONGSHORE_PRICES: await writePrices(settings.path) });
    client = new Longshore(server.address);
  });
  after(async () => {
    client?.close();
    await server?.[Symbol.asyncDispose]();
    await settings?.[Symbol.asyncDispose]();
  });

  test("the command line estimates, tells the charge with its formula, and adds up", async () => {
    const at = { server: server.address };
    const asked = ["--cpu", "1", "--ram", "512MB", "--storage", "64MB", "--timeout", "10m"];
    const estimate = await runCli(["run", "--estimate", "--code", "print(1)", ...asked], at);
    assert.match(estimate.stdout, /holds +1 CPU · 512 MB RAM · 64 MB disk\nat most +€0\.63 {2}for 10 min/);
    const run = await runCli(
      ["run", "--code", "import time; time.sleep(0.3)", "--label", "team=ml", ...asked],
      at,
    );
    assert.match(run.stderr, /succeeded .* · {2}€0\.000\d+/);
    const id = /task +(\S+)/.exec(run.stderr)?.[1] ?? "";
    const describe = await runCli(["describe", id], at);
    const formula = /charge +€0\.000\d+ {2}= 1 CPU × (\d+ ms) \+ 512 MB RAM × \1 \+ 64 MB disk × \1/;
    assert.match(describe.stdout, formula);
    const usage = await runCli(["usage", "--by", "label:team"], at);
    assert.match(usage.stdout, /^TEAM +ATTEMPTS .*COST\nml +1 .*€0\.000\d+\ntotal +1 .*€0\.000\d+\n$/);
    const [line = "", total = ""] = (await runCli(["usage", "--by", "day", "--json"], at)).stdout.split("\n");
    assert.equal(JSON.parse(line).key, new Date().toISOString().slice(0, 10));
    assert.deepEqual(JSON.parse(line).sum, JSON.parse(total).total);
    const entries = await runCli(["usage", "--entries"], at);
    assert.match(
      entries.stdout,
      new RegExp(`\n${id} +1 .*1 CPU · 512 MB · 64 MB disk +exited +€0\\.000\\d+\n`),
    );
    const wrong = await runCli(["usage", "--by", "week"], at);
    assert.equal(wrong.code, 2);
    assert.match(wrong.stderr, /--by +"week" is not one of day, task, owner, label:KEY/);
  });

  test("the cost of a running task grows, and stands still when it has ended", async () => {
    const task = await client.submit({ code: "import time; time.sleep(60)" }, { timeout: "2m" });
    await until(task, Task_State.RUNNING);
    const early = nanosOf((await task.get()).cost) ?? 0n;
    await delay(50);
    const late = nanosOf((await task.get()).cost) ?? 0n;
    assert.ok(late > early, `${early} then ${late}`);
    await task.cancel({ grace: "0s" });
    const { record } = await task.result({ reject: false });
    assert.equal(nanosOf(task.cost), nanosOf(record.cost));
    assert.deepEqual((await task.get()).cost, record.cost);
  });

  test("a server killed around the ends of attempts loses and doubles no row", async () => {
    const batch = crypto.randomUUID();
    const tasks: Task[] = [];
    for (let index = 0; index < 12; index++) {
      const seconds = 0.3 + index * 0.15;
      const options = { labels: { batch }, maxAttempts: 3, cpu: 0.1, ram: "64MB" };
      tasks.push(await client.submit({ code: `import time; time.sleep(${seconds})` }, options));
    }
    for (const index of [1, 4, 7]) {
      // Its end is seen by a watcher as soon as it is committed: the next ones are about to end.
      await tasks[index]?.result({ reject: false });
      await server.kill();
      await server.start();
    }
    const records = [];
    for (const task of tasks) records.push((await task.result({ reject: false })).record);
    const rows = new Map<string, UsageEntry>();
    for await (const row of client.usageEntries({ labels: { batch } })) {
      const key = `${row.taskId} ${row.attempt}`;
      assert.ok(!rows.has(key), `${key} is there twice`);
      rows.set(key, row);
    }
    const attempts = records.flatMap((record) =>
      record.attempts.map((attempt) => [`${record.id} ${attempt.number}`, attempt] as const),
    );
    assert.deepEqual([...rows.keys()].sort(), attempts.map(([key]) => key).sort());
    for (const [key, attempt] of attempts)
      assert.deepEqual(rows.get(key)?.usage?.chargedTime, attempt.usage?.chargedTime);
    const billed = records.reduce((sum, { cost }) => sum + (nanosOf(cost) ?? 0n), 0n);
    const { total } = await client.usage({ labels: { batch } });
    assert.equal(nanosOf(total.costs[0]), billed);
    await tasks[0]?.delete();
    assert.deepEqual((await client.usage({ labels: { batch } })).total, total, "rows outlive their task");
  });
});

async function until(task: Task, state: Task_State): Promise<void> {
  for await (const event of task.watch({ logs: false }))
    if (event.kind === "task" && event.task.state === state) return;
}
