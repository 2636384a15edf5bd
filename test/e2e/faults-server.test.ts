import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, test } from "node:test";
import { promisify } from "node:util";
import { Longshore, type Task, type TaskEvent } from "@longshore/client";
import { LINES, NumberedTask, numberedCode } from "../faults/numbered-task.ts";
import { runCli } from "../support/run-cli.ts";
import { type RunningServer, startServer, whyNoServer } from "../support/running-server.ts";

const run = promisify(execFile);
const skip = (await whyNoServer()) ?? false;
const FOREVER = { code: "import time; print('up', flush=True); time.sleep(3600)" };
const LOST = 14;

async function until(task: Task, seen: (event: TaskEvent) => boolean): Promise<void> {
  for await (const event of task.watch()) if (seen(event)) return;
  assert.fail("the task ended first");
}

async function stopWithoutLeftovers(server: RunningServer): Promise<void> {
  assert.equal(await server.stop(), 0);
  assert.deepEqual(await server.leftovers(), []);
}

describe("one server per data folder", { skip }, () => {
  test("a second one says who holds it, and one that was killed holds nothing", async () => {
    await using server = await startServer();
    const { pid, dataDirectory } = server;
    const second = startServer({ LONGSHORE_DATA_DIR: dataDirectory, LONGSHORE_LISTEN: "127.0.0.1:0" });
    await assert.rejects(second, (error: Error) => {
      assert.match(error.message, /another server uses the data folder/);
      assert.match(error.message, new RegExp(`"pid":${pid}`));
      assert.match(error.message, /LONGSHORE_DATA_DIR/);
      return true;
    });
    await server.kill();
    await server.start();
    assert.notEqual(server.pid, pid);
    await stopWithoutLeftovers(server);
  });
});

describe("trouble under a running server", { skip }, () => {
  test("a container removed from outside ends its task as lost, without charge, or is replaced where retries are allowed", async () => {
    await using server = await startServer();
    await using client = new Longshore(server.address);
    const once = await client.submit(FOREVER, { timeout: "1h", cpu: "0.1" });
    const twice = await client.submit(FOREVER, { timeout: "1h", cpu: "0.1", maxAttempts: 2 });
    for (const task of [once, twice]) {
      await until(task, (event) => event.kind === "log");
      await run("docker", ["rm", "-f", (await task.get()).containerId]);
    }
    assert.equal((await once.result({ reject: false })).reason, "LOST");
    const record = await once.get();
    assert.equal(record.usage?.chargedTime?.seconds ?? 0n, 0n);
    assert.equal(record.result?.stdoutTail, "up\n");
    await until(twice, (event) => event.kind === "log" && event.attempt === 2);
    const { attempts } = await twice.get();
    assert.deepEqual(
      attempts.map(({ result }) => result?.reason),
      [LOST, undefined],
    );
    await twice.cancel({ grace: "0s" });
    await twice.result({ reject: false });
    await stopWithoutLeftovers(server);
  });

  test("a locked database delays what has happened and loses none of it", async () => {
    await using server = await startServer();
    await using client = new Longshore(server.address);
    const task = await NumberedTask.submit(
      client,
      { code: numberedCode(10) },
      { outputs: [] },
      () => undefined,
    );
    await until(task.task, (event) => event.kind === "log");
    const database = new DatabaseSync(join(server.dataDirectory, "longshore.db"));
    database.exec("PRAGMA busy_timeout = 5000; BEGIN IMMEDIATE");
    await server.logged(/a change of a task waits for the database/);
    database.exec("ROLLBACK");
    database.close();
    await task.ended;
    assert.deepEqual(await task.problems(), []);
    await stopWithoutLeftovers(server);
  });

  test("SIGTERM leaves running tasks alone, and the next server goes on with them", async () => {
    await using server = await startServer();
    await using client = new Longshore(server.address);
    const tasks = await Promise.all(
      [1, 2, 3].map(() =>
        NumberedTask.submit(client, { code: numberedCode(50) }, { outputs: [] }, () => undefined),
      ),
    );
    for (const { task } of tasks) await until(task, (event) => event.kind === "log");
    assert.equal(await server.stop(), 0);
    const { stdout } = await run("docker", [
      "ps",
      "-q",
      "--filter",
      `label=longshore.installation=${await installationOf(server)}`,
    ]);
    assert.equal(stdout.trim().split("\n").length, tasks.length);
    await server.start();
    await Promise.all(tasks.map(({ ended }) => ended));
    for (const task of tasks) assert.deepEqual(await task.problems(), []);
    const report = await client.reconcileReport();
    assert.equal(report.adoptedAttempts, tasks.length);
    assert.deepEqual(report.problems, []);
    const doctor = await runCli(["doctor", "--reconcile"], { server: server.address });
    assert.equal(doctor.code, 0, doctor.stderr);
    assert.match(doctor.stdout, /took up +0 queued, 3 running or just ended, 0 to clean up/);
    await stopWithoutLeftovers(server);
  });

  test("the command line follows through a killed and a stopped server, byte for byte", async () => {
    await using server = await startServer();
    await using client = new Longshore(server.address);
    const task = await client.submit({ code: numberedCode(40) }, { timeout: "5m", cpu: "0.2" });
    const restarts = [LINES / 4, LINES / 2];
    let restarting = Promise.resolve();
    const followed = await runCli(["logs", "-f", task.id], {
      server: server.address,
      onOutput: ({ stdout }) => {
        if (stdout.split("\n").length <= (restarts[0] ?? Number.POSITIVE_INFINITY)) return;
        const kill = restarts.length === 2;
        restarts.shift();
        restarting = restarting.then(async () => {
          await (kill ? server.kill() : server.stop());
          await server.start();
        });
      },
    });
    await restarting;
    assert.equal(restarts.length, 0);
    assert.equal(followed.code, 0, followed.stderr);
    const lines = followed.stdout.split("\n");
    assert.match(lines[0] ?? "", /^nonce /);
    assert.deepEqual(lines.slice(1), [...Array.from({ length: LINES }, (_, n) => `line ${n}`), ""]);
    await stopWithoutLeftovers(server);
  });
});

describe("many watchers", { skip }, () => {
  test("a thousand of one task see every byte, and one that never reads costs the server no memory", async () => {
    await using server = await startServer();
    const clients = Array.from({ length: 10 }, () => new Longshore(server.address));
    try {
      const [first] = clients;
      if (first === undefined) assert.fail("there is no client");
      // More than the sockets between server and reader can hold.
      const code = "import sys\nline = 'x' * 1023 + '\\n'\nfor n in range(32 * 1024): sys.stdout.write(line)";
      const large = await first.submit({ code }, { timeout: "5m" });
      const size = 32 * 2 ** 20;
      await large.result();
      const before = await residentBytes(server.pid);
      await using stuck = new Longshore(server.address);
      const unread = stuck.task(large.id).watch();
      await unread.next();
      let seen = 0;
      for await (const event of large.watch()) if (event.kind === "log") seen += event.data.length;
      assert.equal(seen, size);
      const small = await first.submit({ code: numberedCode(20) }, { timeout: "5m" });
      const totals = await Promise.all(
        Array.from({ length: 999 }, async (_, index) => {
          let bytes = 0;
          const client = clients[index % clients.length] ?? first;
          for await (const event of client.task(small.id).watch())
            if (event.kind === "log") bytes += event.data.length;
          return bytes;
        }),
      );
      const expected = Number((await small.get()).result?.stdoutBytes);
      assert.deepEqual(new Set(totals), new Set([expected]));
      const grown = (await residentBytes(server.pid)) - before;
      assert.ok(grown < 256 * 2 ** 20, `the server grew by ${grown} bytes`);
      await unread.return();
    } finally {
      for (const client of clients) client.close();
    }
    await stopWithoutLeftovers(server);
  });
});

async function installationOf(server: RunningServer): Promise<string> {
  return (await readFile(join(server.dataDirectory, "installation"), "utf8")).trim();
}

async function residentBytes(pid: number): Promise<number> {
  const kibibytes = /VmRSS:\s+(\d+) kB/.exec(await readFile(`/proc/${pid}/status`, "utf8"))?.[1];
  return Number(kibibytes) * 1024;
}
