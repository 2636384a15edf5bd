/** Who may start, who waits and why, and who is refused: on the host's own figures. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, before, describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { promisify } from "node:util";
import { Longshore, limitName, NeverFits, type Task, type TaskOptions } from "@longshore/client";
import { EXECUTOR_IMAGE } from "../support/docker-engine.ts";
import { runCli } from "../support/run-cli.ts";
import { type RunningServer, startServer, whyNoServer } from "../support/running-server.ts";

const run = promisify(execFile);
const UNTIL_CANCELLED = "import time\nprint('running', flush=True)\ntime.sleep(600)";
const skip = (await whyNoServer()) ?? false;

/** The first record of the task of which `holds` is true. */
async function recordOf(
  task: Task,
  holds: (record: NonNullable<Task["latest"]>) => boolean,
): Promise<NonNullable<Task["latest"]>> {
  for await (const event of task.watch()) if (event.kind === "task" && holds(event.task)) return event.task;
  return assert.fail("the task ended before that");
}

async function running(task: Task): Promise<void> {
  for await (const event of task.logs()) if (Buffer.from(event.data).includes("running")) return;
  assert.fail("the task did not run");
}

describe("admission", { skip }, () => {
  let server: RunningServer;
  let client: Longshore;
  let cpus: number;
  const submit = (cpu: number, options: TaskOptions = {}) =>
    client.submit(
      { code: UNTIL_CANCELLED },
      { cpu, ram: "64MB", storage: "16MB", timeout: "10m", ...options },
    );
  before(async () => {
    server = await startServer();
    client = new Longshore(server.address);
    const { engines } = await client.capabilities();
    cpus = Number(engines[0]?.largestTask?.cpuMillis) / 1000;
  });
  after(async () => {
    client?.close();
    await server?.stop();
    const left = await server?.leftovers();
    await server?.[Symbol.asyncDispose]();
    assert.deepEqual(left, []);
  });

  test("two tasks of half the CPUs each run together; a third waits with its reason and starts when one ends", async () => {
    const [first, second] = [await submit(cpus / 2), await submit(cpus / 2)];
    await Promise.all([running(first), running(second)]);
    const third = await submit(cpus / 2);
    const fourth = await submit(cpus / 2);
    const { wait } = await recordOf(third, (record) => record.wait?.limit !== 0);
    assert.deepEqual(
      [limitName(wait?.limit ?? 0), wait?.needed, wait?.available, wait?.position],
      ["cpu", BigInt(cpus * 500), 0n, 1],
    );
    assert.equal(wait?.message, `waiting for ${cpus / 2} CPU (0 CPU free)`);
    assert.equal((await fourth.get()).wait?.position, 2);
    await first.cancel({ grace: "0s" });
    await running(third);
    for (const task of [second, third, fourth]) await task.cancel({ grace: "0s" });
    for (const task of [first, second, third, fourth])
      assert.equal((await task.result({ reject: false })).reason, "CANCELLED");
  });

  test("what can never fit is refused at once, with what was asked and the most there is", async () => {
    await assert.rejects(submit(cpus + 62), (error) => {
      assert.ok(error instanceof NeverFits);
      assert.match(error.message, new RegExp(`${cpus + 62} CPU asked, at most ${cpus} CPU`));
      return true;
    });
    await assert.rejects(submit(1, { ram: "900TB" }), NeverFits);
    await assert.rejects(submit(1, { storage: "900TB" }), NeverFits);
    await assert.rejects(submit(1, { gpu: 64 }), NeverFits);
    await assert.rejects(submit(1, { gpu: 1, gpuModel: "none such" }), NeverFits);
  });
});

describe("longshore doctor", { skip }, () => {
  test("tells of every limit of the real server, and its exit code is that of its verdict", async () => {
    await using server = await startServer({ LONGSHORE_WARM_COUNT: "0" });
    const { code, stdout } = await runCli(["doctor", "--json"], { server: server.address });
    const told: { broken: number; findings: { tier: string; subject: string; verdict: string }[] } =
      JSON.parse(stdout);
    assert.equal(code, told.broken > 0 ? 1 : 0);
    const subjects = told.findings.filter(({ tier }) => tier === "container").map(({ subject }) => subject);
    for (const limit of [
      "cpu",
      "ram",
      "storage",
      "gpu",
      "processes",
      "open_files",
      "inodes",
      "log",
      "network",
    ])
      assert.ok(subjects.includes(limit), limit);
    assert.ok(subjects.includes("runc"));
    await server.stop();
    assert.deepEqual(await server.leftovers(), []);
  });
});

describe("containers of others on the same host", { skip }, () => {
  test("are counted: a task waits for what they hold, says so, and starts when they are gone", async () => {
    await using server = await startServer({ LONGSHORE_COUNT_OTHERS: "true" });
    await using client = new Longshore(server.address);
    const { engines } = await client.capabilities();
    const cpus = Number(engines[0]?.largestTask?.cpuMillis) / 1000;
    const name = `longshore-test-foreign-${process.pid}`;
    const limits = ["--cpus", "0.75", "--memory", "96m", "--network", "none"];
    await run("docker", [
      ...["run", "-d", "--rm", "--init", "--name", name, ...limits],
      ...["--entrypoint", "sleep", EXECUTOR_IMAGE, "600"],
    ]);
    try {
      for (;;) {
        const { foreign } = await client.capacity();
        if ((foreign?.cpuMillis ?? 0n) >= 750n && (foreign?.ramBytes ?? 0n) >= 96n * 2n ** 20n) break;
        await pause(50);
      }
      const task = await client.submit({ code: "print(1)" }, { cpu: cpus, ram: "64MB", storage: "16MB" });
      const { wait } = await recordOf(task, (record) => record.wait?.limit !== 0);
      assert.equal(limitName(wait?.limit ?? 0), "cpu");
      assert.match(wait?.message ?? "", /other containers on this host hold [\d.]+ CPU\)$/);
      await run("docker", ["rm", "-f", name]);
      assert.equal((await task.result()).exitCode, 0);
    } finally {
      await run("docker", ["rm", "-f", name]).catch(() => undefined);
    }
  });
});
