import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { describe, test } from "node:test";
import { Longshore, NotFound, TaskFailed, Unavailable } from "@longshore/client";
import { CreateTaskRequest, Task_State, TaskResult_Reason } from "@longshore/proto/longshore/v1/task";
import { LogChunk_Stream } from "@longshore/proto/longshore/v1/task_service";
import { CuttingProxy } from "../support/cutting-proxy.ts";
import { ScriptedServer, type ScriptedTask } from "../support/scripted-server.ts";

/** Puts lines on both streams, in uneven pieces, and ends the task. */
function writeLines(task: ScriptedTask, count: number): { stdout: string; stderr: string } {
  const hashes = { stdout: createHash("sha256"), stderr: createHash("sha256") };
  for (let line = 0; line < count; line += 1) {
    const isError = line % 3 === 0;
    const text = `line ${line} ${"x".repeat(line % 97)}\n`;
    hashes[isError ? "stderr" : "stdout"].update(text);
    task.log(text, isError ? LogChunk_Stream.STDERR : LogChunk_Stream.STDOUT);
  }
  task.exit(0);
  return { stdout: hashes.stdout.digest("hex"), stderr: hashes.stderr.digest("hex") };
}

async function watchHashes(client: Longshore, id: string): Promise<{ stdout: string; stderr: string }> {
  const hashes = { stdout: createHash("sha256"), stderr: createHash("sha256") };
  for await (const event of client.task(id).watch()) {
    if (event.kind === "log" && event.stream !== "build") hashes[event.stream].update(event.data);
  }
  return { stdout: hashes.stdout.digest("hex"), stderr: hashes.stderr.digest("hex") };
}

const snippet = CreateTaskRequest.fromPartial({ code: "print(1)" });

describe("watching a task", () => {
  test("gives the same bytes whatever is cut in between", async () => {
    await using server = await ScriptedServer.start();
    const task = server.create(snippet);
    const expected = writeLines(task, 5_000);
    await using proxy = await CuttingProxy.start(server.address);
    // Cuts in headers, in frames and between them; each connection gets a little further than the one before.
    for (let cut = 0; cut < 25; cut += 1) proxy.cutAfter.push(2_000 + cut * 1_777);
    await using client = new Longshore(proxy.address);
    assert.deepEqual(await watchHashes(client, task.id), expected);
    assert.ok(proxy.cuts >= 20, `only ${proxy.cuts} connections were cut`);
    assert.ok(server.watches.some(({ cursor }) => cursor !== ""));
  });

  test("passes no byte twice when the server goes on before the cursor", async () => {
    await using server = await ScriptedServer.start();
    server.overlap = 7;
    server.cutStreamsAfter.push(40, 25, 60, 33);
    const task = server.create(snippet);
    const expected = writeLines(task, 200);
    await using client = new Longshore(server.address);
    assert.deepEqual(await watchHashes(client, task.id), expected);
    assert.equal(server.watches.length, 5);
  });

  test("waits for a server that restarts, and tells of it", async () => {
    await using server = await ScriptedServer.start();
    const task = server.create(snippet);
    task.change({ state: Task_State.RUNNING });
    task.log("before ");
    await using client = new Longshore(server.address);
    let output = "";
    let reconnects = 0;
    const onReconnect = () => {
      reconnects += 1;
    };
    for await (const event of client.task(task.id).watch({ onReconnect })) {
      if (event.kind !== "log") continue;
      output += Buffer.from(event.data).toString();
      if (output === "before ") {
        server.kill();
        task.log("after");
        task.exit(0);
        await server.listen();
      }
    }
    assert.equal(output, "before after");
    assert.ok(reconnects >= 1);
  });

  test("ends with the terminal record, once, after the last byte, though an ended task's watch begins with it", async () => {
    await using server = await ScriptedServer.start();
    const task = server.create(snippet);
    task.log("a");
    task.gap(12);
    task.exit(0);
    await using client = new Longshore(server.address);
    const events = await Array.fromAsync(client.task(task.id).watch());
    assert.deepEqual(
      events.map(({ kind }) => kind),
      ["log", "gap", "task"],
    );
    const [, gap, last] = events;
    assert.equal(gap?.kind === "gap" && gap.droppedBytes, 12);
    assert.equal(last?.kind === "task" && last.task.state, Task_State.SUCCEEDED);
  });

  test("goes on after a given cursor", async () => {
    await using server = await ScriptedServer.start();
    const task = server.create(snippet);
    for (const text of ["one", "two", "three"]) task.log(text);
    task.exit(0);
    await using client = new Longshore(server.address);
    const [first] = await Array.fromAsync(client.task(task.id).logs());
    const rest = await Array.fromAsync(client.task(task.id).logs({ cursor: first?.cursor }));
    assert.deepEqual(
      rest.map(({ data }) => Buffer.from(data).toString()),
      ["two", "three"],
    );
  });

  test("gives one stream alone", async () => {
    await using server = await ScriptedServer.start();
    const task = server.create(snippet);
    const expected = writeLines(task, 100);
    await using client = new Longshore(server.address);
    const hash = createHash("sha256");
    for await (const { data } of client.task(task.id).logs({ stream: "stderr" })) hash.update(data);
    assert.equal(hash.digest("hex"), expected.stderr);
  });

  test("without follow, ends after what is there", async () => {
    await using server = await ScriptedServer.start();
    const task = server.create(snippet);
    task.change({ state: Task_State.RUNNING });
    task.log("so far");
    await using client = new Longshore(server.address);
    const events = await Array.fromAsync(client.task(task.id).logs({ follow: false }));
    assert.equal(events.length, 1);
  });

  test("does not try again what will not get better", async () => {
    await using server = await ScriptedServer.start();
    await using client = new Longshore(server.address);
    await assert.rejects(Array.fromAsync(client.task("nope").watch()), (error) => {
      assert.ok(error instanceof NotFound);
      assert.equal(error.resourceName, "nope");
      return true;
    });
    assert.equal(server.watches.length, 1);
  });

  test("stops with the signal's reason", async () => {
    await using server = await ScriptedServer.start();
    const task = server.create(snippet);
    task.change({ state: Task_State.RUNNING });
    await using client = new Longshore(server.address);
    const stop = new AbortController();
    const watching = (async () => {
      for await (const event of client.task(task.id).watch({ signal: stop.signal })) {
        if (event.kind === "task") stop.abort(new Error("enough"));
      }
    })();
    await assert.rejects(watching, /enough/);
  });

  test("closing the client ends its watches", async () => {
    await using server = await ScriptedServer.start();
    const task = server.create(snippet);
    task.change({ state: Task_State.RUNNING });
    const client = new Longshore(server.address);
    const watching = (async () => {
      for await (const event of client.task(task.id).watch()) if (event.kind === "task") client.close();
    })();
    await assert.rejects(watching, /the client is closed/);
  });
});

describe("the result of a task", () => {
  test("is thrown as TaskFailed, or answered with reject: false", async () => {
    await using server = await ScriptedServer.start();
    server.onCreate = (task) =>
      task.end(Task_State.FAILED, {
        reason: TaskResult_Reason.OUT_OF_MEMORY,
        message: "ran out of memory",
        advice: "ask for more with ram",
        signal: 9,
      });
    await using client = new Longshore(server.address);
    const task = await client.submit({ code: "x" });
    await assert.rejects(task.result(), (error) => {
      assert.ok(error instanceof TaskFailed);
      assert.equal(error.reason, "OUT_OF_MEMORY");
      assert.equal(error.signal, 9);
      assert.match(error.message, /ran out of memory; ask for more with ram/);
      return true;
    });
    const outcome = await task.result({ reject: false });
    assert.equal(outcome.state, "failed");
    assert.equal(outcome.succeeded, false);
  });

  test("is there once the handle has seen the end, however that came", async () => {
    await using server = await ScriptedServer.start();
    server.onCreate = () => undefined;
    await using client = new Longshore(server.address);
    const task = await client.submit({ code: "exit(3)" });
    assert.equal(task.outcome, undefined);
    server.task(task.id).log("said\n");
    server.task(task.id).exit(3);
    const waited = await task.wait();
    assert.equal(waited, task);
    assert.equal(waited.outcome?.exitCode, 3);
    assert.equal(waited.outcome.succeeded, false);
  });

  test("run passes every event on", async () => {
    await using server = await ScriptedServer.start();
    server.onCreate = (task) => {
      task.log("hello");
      task.exit(0);
    };
    await using client = new Longshore(server.address);
    const kinds: string[] = [];
    const outcome = await client.run({ code: "x" }, { onEvent: (event) => void kinds.push(event.kind) });
    assert.deepEqual(kinds, ["log", "task"]);
    assert.equal(outcome.exitCode, 0);
  });

  test("nobody at the address is Unavailable, after a short while", async () => {
    const server = await ScriptedServer.start();
    server.kill();
    await using client = new Longshore(server.address);
    await assert.rejects(
      client.task("x").get(),
      (error) => error instanceof Unavailable && error.unreachable,
    );
  });
});
