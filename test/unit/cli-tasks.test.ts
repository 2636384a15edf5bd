import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { describe, test } from "node:test";
import { GetCapabilitiesResponse } from "@longshore/proto/longshore/v1/system_service";
import { CreateTaskRequest, Task_State } from "@longshore/proto/longshore/v1/task";
import { LogChunk_Stream } from "@longshore/proto/longshore/v1/task_service";
import { runCli } from "../support/run-cli.ts";
import { ScriptedServer } from "../support/scripted-server.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";

/** A server with a running, a queued and an ended task. */
async function withTasks() {
  const server = await ScriptedServer.start();
  const spec = (name: string, labels: Record<string, string> = {}) =>
    CreateTaskRequest.fromPartial({ displayName: name, labels, requestId: name });
  const ended = server.create(spec("ended.py", { team: "a" }));
  ended.record.createTime = new Date(Date.now() - 65_000);
  ended.exit(1);
  const running = server.create(spec("running.py", { team: "a" }));
  running.change({ state: Task_State.RUNNING, elapsed: { seconds: 5n, nanos: 0 } });
  const queued = server.create(spec("queued\u001b[31m.py"));
  queued.change({ state: Task_State.QUEUED, wait: { message: "waiting for 2 CPU", position: 1 } });
  return { server, ended, running, queued };
}

describe("longshore ps", () => {
  test("lists what is under way, newest first, and with --all what has ended", async () => {
    const { server, ended, running, queued } = await withTasks();
    await using _server = server;
    const options = { server: server.address };
    const active = await runCli(["ps"], options);
    const lines = active.stdout.trimEnd().split("\n");
    assert.match(lines[0] ?? "", /^ID +STATE +AGE +TIME +WHAT +WHY$/);
    assert.match(
      lines[1] ?? "",
      new RegExp(`^${queued.id} +queued .*queued\\\\x1b\\[31m\\.py +waiting for 2 CPU, 1st in line$`),
    );
    assert.match(lines[2] ?? "", new RegExp(`^${running.id} +running +5 s +running\\.py$`));
    assert.equal(lines.length, 3);
    const all = await runCli(["ps", "--all"], options);
    // It ended a minute before the list was read, and a slow machine reads it later.
    assert.match(all.stdout, new RegExp(`^${ended.id} +failed +(\\d+ min )?\\d+(\\.\\d)? s`, "m"));
    const failed = await runCli(["ps", "-q", "--state", "failed,succeeded", "-l", "team=a"], options);
    assert.equal(failed.stdout, `${ended.id}\n`);
    const ids = await runCli(["ps", "-aq"], options);
    assert.equal(ids.stdout.trim().split("\n").length, all.stdout.trim().split("\n").length - 1, ids.stderr);
    const limited = await runCli(["ps", "-a", "--json", "--limit", "1"], options);
    assert.equal(JSON.parse(limited.stdout).id, queued.id);
  });

  test("shows what cannot be read, and how to be rid of it", async () => {
    await using server = await ScriptedServer.start();
    const task = server.create(CreateTaskRequest.fromPartial({}));
    task.record.state = Task_State.UNSPECIFIED;
    task.record.damage = "limits: is not JSON";
    const { stdout, stderr } = await runCli(["ps", "-a"], { server: server.address });
    assert.match(stdout, new RegExp(`^${task.id} +damaged .*cannot be read: limits: is not JSON$`, "m"));
    assert.match(stderr, new RegExp(`backup of the database.*: longshore rm ${task.id}$`, "m"));
  });

  test("says so when there is nothing, and names a wrong state", async () => {
    await using server = await ScriptedServer.start();
    const empty = await runCli(["ps"], { server: server.address });
    assert.equal(empty.stdout, "");
    assert.match(empty.stderr, /no tasks under way; longshore ps --all/);
    const wrong = await runCli(["ps", "--state", "done"], { server: server.address });
    assert.equal(wrong.code, 2);
    assert.match(wrong.stderr, /--state {2}"done" is not one of queued, preparing/);
  });
});

describe("longshore get, cancel, rm, rerun", () => {
  test("get prints the record as JSON", async () => {
    const { server, running } = await withTasks();
    await using _server = server;
    const result = await runCli(["get", running.id], { server: server.address });
    const record = JSON.parse(result.stdout);
    assert.equal(record.state, "STATE_RUNNING");
    assert.equal(record.elapsed, "5s");
    const missing = await runCli(["get", "nope"], { server: server.address });
    assert.equal(missing.code, 1);
    assert.match(missing.stderr, /^error: there is no task nope; list them with ListTasks$/m);
  });

  test("cancel takes ids and labels, and does what it can", async () => {
    const { server, running, queued } = await withTasks();
    await using _server = server;
    const byLabel = await runCli(["cancel", "--label", "team=a"], { server: server.address });
    assert.equal(byLabel.stdout, `cancelled ${running.id}\n`);
    assert.deepEqual(server.cancelled, [running.id]);
    const some = await runCli(["cancel", "nope", queued.id], { server: server.address });
    assert.equal(some.code, 1);
    assert.match(some.stderr, /there is no task nope/);
    assert.equal(some.stdout, `cancelled ${queued.id}\n`);
  });

  test("rm removes what has ended and says why it does not remove the rest", async () => {
    const { server, ended, running } = await withTasks();
    await using _server = server;
    const result = await runCli(["rm", running.id, ended.id], { server: server.address });
    assert.equal(result.code, 1);
    assert.match(result.stderr, /is running; cancel it first/);
    assert.equal(result.stdout, `removed ${ended.id}\n`);
  });

  test("rerun watches the new task, with what was changed", async () => {
    const { server, ended } = await withTasks();
    await using _server = server;
    server.onCreate = (task) => {
      task.log("again\n");
      task.exit(0);
    };
    const result = await runCli(["rerun", ended.id, "--ram", "2GB"], { server: server.address });
    assert.equal(result.code, 0, result.stderr);
    assert.equal(result.stdout, "again\n");
    assert.equal(server.created.at(-1)?.resources?.ram, "2GB");
  });
});

describe("longshore logs", () => {
  test("shows what there is, each stream on its own, and follows with -f", async () => {
    const { server, running } = await withTasks();
    await using _server = server;
    running.log("out 1\n");
    running.log("err 1\n", LogChunk_Stream.STDERR);
    const now = await runCli(["logs", running.id], { server: server.address });
    assert.deepEqual([now.stdout, now.stderr, now.code], ["out 1\n", "err 1\n", 0]);
    let told = false;
    const onOutput = ({ stdout }: { stdout: string }) => {
      if (told || !stdout.includes("out 1")) return;
      told = true;
      running.log("out 2\n");
      running.exit(3);
    };
    const followed = await runCli(["logs", "-f", running.id], { server: server.address, onOutput });
    assert.equal(followed.stdout, "out 1\nout 2\n");
    assert.equal(followed.code, 0);
  });

  test("--tail counts lines over both streams, and goes on after them with -f", async () => {
    const { server, running } = await withTasks();
    await using _server = server;
    for (let line = 1; line <= 20; line += 1) running.log(`line ${line}\nand half`);
    running.log(" of it\nunfinished");
    const options = { server: server.address };
    assert.equal(
      (await runCli(["logs", running.id, "--tail", "2"], options)).stdout,
      "and half of it\nunfinished",
    );
    assert.equal((await runCli(["logs", running.id, "--tail", "0"], options)).stdout, "");
    const all = (await runCli(["logs", running.id, "--tail", "1000"], options)).stdout;
    assert.ok(all.startsWith("line 1\n") && all.endsWith("unfinished"));
    running.log("\nlast\n");
    running.exit(0);
    const followed = await runCli(["logs", running.id, "-n", "1", "-f"], options);
    assert.equal(followed.stdout, "last\n");
  });
});

describe("longshore artifacts", () => {
  test("lists and fetches, all or some", async () => {
    const { server, ended } = await withTasks();
    await using _server = server;
    ended.artifacts.set("model/a.bin", Buffer.from("aaaa"));
    ended.artifacts.set("b.txt", Buffer.from("b"));
    await using folder = await TemporaryFolder.create();
    const options = { server: server.address, cwd: folder.path };
    const list = await runCli(["artifacts", ended.id], options);
    assert.match(list.stdout, /^model\/a\.bin {2}4 bytes {2}[0-9a-f]{64}$/m);
    await runCli(["artifacts", ended.id, "--all", "--out", "all"], options);
    assert.equal(await readFile(folder.at("all/model/a.bin"), "utf8"), "aaaa");
    const one = await runCli(["artifacts", ended.id, "--get", "b.txt"], options);
    assert.equal(one.stdout, "b.txt  1 byte\n");
    assert.equal(await readFile(folder.at("b.txt"), "utf8"), "b");
    const missing = await runCli(
      ["artifacts", ended.id, "--get", "c", "--get", "b.txt", "--out", "x"],
      options,
    );
    assert.equal(missing.code, 1);
    assert.match(missing.stderr, /has no artifact c;/);
  });
});

test("longshore capabilities shows each limit with what holds it", async () => {
  await using server = await ScriptedServer.start();
  server.capabilities = GetCapabilitiesResponse.fromPartial({
    version: "0.1.0",
    defaultTimeout: { seconds: 30n, nanos: 0 },
    engines: [
      {
        name: "docker",
        kind: "docker",
        version: "20.10",
        tiers: [
          {
            isolation: 1,
            runtime: "runc",
            networks: [1],
            limits: [
              { limit: 2, level: 1, mechanism: "cgroup v1 memory" },
              { limit: 3, level: 2, mechanism: "none", advice: "turn quota on" },
            ],
          },
        ],
      },
    ],
  });
  const text = await runCli(["capabilities"], { server: server.address });
  assert.match(text.stdout, /^timeout {2}30 s$/m);
  assert.match(text.stdout, /^ {4}ram {6}enforced {2}cgroup v1 memory$/m);
  assert.match(text.stdout, /^ {4}storage {2}advisory {2}none; turn quota on$/m);
  const json = await runCli(["capabilities", "--json"], { server: server.address });
  assert.equal(JSON.parse(json.stdout).defaultTimeout, "30s");
});
