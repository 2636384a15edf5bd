/** WatchTasks and `longshore top` on the whole application over a fake engine. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { TasksUnderWay } from "#server/application/api.ts";
import type { Task, TaskSpec } from "#server/domain/task.ts";
import { ApplicationBench, CALLER } from "../support/application-bench.ts";
import { runOnTerminal, whyNoTerminal } from "../support/cli-terminal.ts";
import { journalFrame } from "../support/fakes/journal-writer.ts";
import { runCli } from "../support/run-cli.ts";
import { TransportServer } from "../support/transport-server.ts";

/** Who calls where nobody has to say who they are. */
const LOCAL = { ...CALLER, tenant: "default" };

/** Runs until its input ends, which is never before it is cancelled. */
const LONG = "import time\nprint('started')\ntime.sleep(600)";
const cpus = (cpu: string): Partial<TaskSpec> => ({
  code: LONG,
  resources: { cpu, gpu: "", ram: "64MB", storage: "64MB", gpuModel: "" },
  timeoutMillis: 600_000,
});

/** One that runs on 3 of 4 CPUs, and one that waits for as many. */
async function openBusy(caller = CALLER) {
  const bench = await ApplicationBench.open();
  const { id } = await bench.create(cpus("3"), caller);
  const running = await bench.until(id, ({ state }) => state === "RUNNING", caller);
  const queued = await bench.create({ ...cpus("3"), labels: { team: "a" } }, caller);
  await new Promise((resolve) => setImmediate(resolve));
  return { bench, running, queued };
}

function sample(bench: ApplicationBench, task: Task, ramBytes: number): void {
  const usage = { cpu_micros: 1_500_000, ram_bytes: ramBytes, processes: 2, storage_bytes: 1000 };
  bench.engine.journalOf(task.attempts[0]?.sandboxId ?? "").append(journalFrame("usage", usage));
}

async function pictureWhere(
  bench: ApplicationBench,
  seen: (picture: TasksUnderWay) => boolean,
  request = { labels: {}, maxTasks: 50 },
): Promise<TasksUnderWay> {
  const signal = AbortSignal.timeout(60_000);
  for await (const picture of bench.application.watchTasks(CALLER, request, signal))
    if (seen(picture)) return picture;
  throw new Error("the watch ended");
}

describe("WatchTasks", () => {
  test("is what runs, then what waits and why, of the caller's tenant alone", async () => {
    const { bench, running, queued } = await openBusy();
    await using _bench = bench;
    const { tasks, totalCount } = await pictureWhere(bench, () => true);
    assert.deepEqual(
      tasks.map(({ id }) => id),
      [running.id, queued.id],
    );
    assert.equal(totalCount, 2);
    assert.match(tasks[1]?.wait?.message ?? "", /waiting for 3 CPU/);
    const other = bench.application.watchTasks(
      { ...CALLER, tenant: "other" },
      { labels: {}, maxTasks: 50 },
      AbortSignal.timeout(60_000),
    );
    for await (const picture of other) {
      assert.deepEqual(picture, { tasks: [], totalCount: 0 });
      break;
    }
  });

  test("takes labels and a most, and counts what it leaves out", async () => {
    const { bench, queued } = await openBusy();
    await using _bench = bench;
    const labelled = await pictureWhere(bench, () => true, { labels: { team: "a" }, maxTasks: 50 });
    assert.deepEqual(
      labelled.tasks.map(({ id }) => id),
      [queued.id],
    );
    const few = await pictureWhere(bench, () => true, { labels: {}, maxTasks: 1 });
    assert.deepEqual([few.tasks.length, few.totalCount], [1, 2]);
  });

  test("tells what a task uses while it runs, as GetTask does, and follows it to its end", async () => {
    const { bench, running, queued } = await openBusy();
    await using _bench = bench;
    sample(bench, running, 5000);
    sample(bench, running, 4000);
    const usageOf = ({ tasks }: TasksUnderWay) => tasks[0]?.attempts[0]?.usage;
    const picture = await pictureWhere(bench, (now) => (usageOf(now)?.cpuMicros ?? 0) > 0);
    assert.equal(usageOf(picture)?.peakRamBytes, 5000);
    assert.equal(usageOf(picture)?.peakProcesses, 2);
    const read = await bench.application.getTask(CALLER, running.id);
    assert.equal(read.attempts[0]?.usage?.peakRamBytes, 5000);
    await bench.application.cancelTask(CALLER, running.id, "", 0);
    const after = await pictureWhere(bench, ({ tasks }) => tasks[0]?.id === queued.id);
    assert.equal(after.totalCount, 1);
    assert.equal((await bench.finished(running.id)).attempts[0]?.usage?.peakRamBytes, 0);
  });

  test("leaves in the record what a task waited for", async () => {
    const { bench, running, queued } = await openBusy();
    await using _bench = bench;
    await bench.application.cancelTask(CALLER, running.id, "", 0);
    const started = await bench.until(queued.id, ({ state }) => state === "RUNNING");
    const note = (task: Task) => task.stages.find(({ name }) => name === "queue")?.note;
    assert.equal(note(started), "waited for CPU");
    assert.equal(note(await bench.finished(running.id)), "");
  });

  test("goes on across a restart with what the journal tells again", async () => {
    const { bench, running } = await openBusy();
    await using _bench = bench;
    sample(bench, running, 7000);
    await bench.stop();
    await bench.start();
    const picture = await pictureWhere(bench, ({ tasks }) => (tasks[0]?.attempts[0]?.usage ?? null) !== null);
    assert.equal(picture.tasks[0]?.attempts[0]?.usage?.peakRamBytes, 7000);
  });
});

describe("longshore top", { timeout: 120_000 }, () => {
  test("prints one picture without a terminal", async () => {
    const { bench, running, queued } = await openBusy(LOCAL);
    await using _bench = bench;
    await using server = await TransportServer.start(bench.application);
    const { stdout, code } = await runCli(["top"], { server: server.server.address });
    assert.equal(code, 0);
    assert.match(stdout, /^1 running · 1 queued · 0 warm {3}\(2 yours\)$/m);
    assert.match(stdout, /^CPU {2}█{23}░{7} {2}3 of 4 held$/m);
    assert.match(stdout, new RegExp(`^${running.id} +running `, "m"));
    assert.match(stdout, new RegExp(`^1 +${queued.id} .*waiting for 3 CPU \\(1 CPU free\\) +snippet$`, "m"));
  });

  test("--json prints one object per line, and with --once only one", async () => {
    const { bench, running } = await openBusy(LOCAL);
    await using _bench = bench;
    await using server = await TransportServer.start(bench.application);
    const options = { server: server.server.address };
    const once = await runCli(["top", "--json", "--once", "--limit", "1"], options);
    const picture = JSON.parse(once.stdout);
    assert.equal(picture.tasks.length, 1);
    assert.equal(picture.tasks[0].id, running.id);
    assert.equal(picture.totalCount, 2);
    assert.equal(picture.capacity.held.cpuMillis, "3000");
    let sent = false;
    const live = await runCli(["top", "--json"], {
      ...options,
      onOutput: ({ stdout }, child) => {
        if (!sent) sample(bench, running, 9000);
        sent = true;
        if (stdout.includes('"peakRamBytes":"9000"')) child.kill("SIGINT");
      },
    });
    const lines = live.stdout.trimEnd().split("\n");
    assert.ok(lines.length >= 2);
    for (const line of lines) assert.equal(JSON.parse(line).tasks[0].id, running.id);
  });

  test("is live on a terminal until q, and gives the screen back", {
    skip: whyNoTerminal() ?? false,
  }, async () => {
    const { bench, running } = await openBusy(LOCAL);
    await using _bench = bench;
    await using server = await TransportServer.start(bench.application);
    const { code, screen } = await runOnTerminal(
      ["top", "--server", server.server.address],
      [
        [/3 of 4 held/, () => sample(bench, running, 82 * 2 ** 20)],
        [/82 MB of 64 MB/, "q"],
      ],
    );
    assert.equal(code, 0, screen);
    assert.ok(screen.endsWith("\u001b[?25h\u001b[?1049l"), JSON.stringify(screen.slice(-60)));
  });

  test("names a wrong limit, and a server that is not there", async () => {
    const wrong = await runCli(["top", "--limit", "0"]);
    assert.equal(wrong.code, 2);
    assert.match(wrong.stderr, /--limit "0" is not a number from 1 to 200/);
    const nobody = await runCli(["top"]);
    assert.equal(nobody.code, 69);
  });
});
