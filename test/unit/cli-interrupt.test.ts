import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { describe, test } from "node:test";
import { Task_State } from "@longshore/proto/longshore/v1/task";
import { runOnTerminal, type TerminalStep, whyNoTerminal } from "../support/cli-terminal.ts";
import { runCli } from "../support/run-cli.ts";
import { ScriptedServer } from "../support/scripted-server.ts";

const CTRL_C = "\u0003";

async function withRunningTask(): Promise<ScriptedServer> {
  const server = await ScriptedServer.start();
  server.onCreate = (task) => {
    task.change({ state: Task_State.RUNNING });
    task.log("started\n");
  };
  return server;
}

/** Sends a signal once, when the task's output is there. */
function signalWhenStarted(signal: NodeJS.Signals) {
  let sent = false;
  return ({ stdout }: { stdout: string }, child: ChildProcess) => {
    if (sent || !stdout.includes("started")) return;
    sent = true;
    child.kill(signal);
  };
}

describe("Ctrl-C without a terminal", () => {
  for (const [signal, code] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const) {
    test(`${signal} detaches: the task goes on, and its id is told`, async () => {
      await using server = await withRunningTask();
      const onOutput = signalWhenStarted(signal);
      const result = await runCli(["run", "--code", "1"], { server: server.address, onOutput });
      assert.equal(result.code, code, result.stderr);
      assert.match(result.stderr, /^detached {4}task (01JD\w+) goes on \(longshore logs \1 -f\)$/m);
      assert.deepEqual(server.cancelled, []);
    });
  }

  test("ends logs -f quietly", async () => {
    await using server = await withRunningTask();
    const { stdout } = await runCli(["submit", "--code", "1"], { server: server.address });
    const onOutput = signalWhenStarted("SIGINT");
    const result = await runCli(["logs", "-f", stdout.trim()], { server: server.address, onOutput });
    assert.equal(result.code, 130);
    assert.equal(result.stderr, "");
  });
});

const onTerminal = (server: ScriptedServer, steps: readonly TerminalStep[]) =>
  runOnTerminal(["run", "--code", "1", "--server", server.address], steps);

describe("Ctrl-C on a terminal asks", { skip: whyNoTerminal() ?? false }, () => {
  const question = /\[d\/c\/k\]/;

  test("d detaches", async () => {
    await using server = await withRunningTask();
    const { code, screen } = await onTerminal(server, [
      [/started/, CTRL_C],
      [question, "d"],
    ]);
    assert.equal(code, 130, screen);
    assert.match(screen, /detached {4}task 01JD\w+ goes on/);
    assert.deepEqual(server.cancelled, []);
  });

  test("c cancels, and the end of the task is shown", async () => {
    await using server = await withRunningTask();
    const { code, screen } = await onTerminal(server, [
      [/started/, CTRL_C],
      [question, "c"],
    ]);
    assert.equal(code, 130, screen);
    assert.equal(server.cancelled.length, 1);
    assert.match(screen, /cancelled/);
  });

  test("k keeps watching, and the output waits while it asks", async () => {
    await using server = await withRunningTask();
    const log = (text: string) => [...server.tasks.values()][0]?.log(text);
    const { code, screen } = await onTerminal(server, [
      [/started/, CTRL_C],
      [
        question,
        (type) => {
          log("meanwhile\n");
          type("k");
        },
      ],
      [/meanwhile/, () => [...server.tasks.values()][0]?.exit(7)],
    ]);
    assert.equal(code, 7, screen);
    assert.match(screen, /\[d\/c\/k\] k\s+meanwhile/);
    assert.deepEqual(server.cancelled, []);
  });

  test("a signal while it asks detaches", async () => {
    await using server = await withRunningTask();
    let pid = 0;
    const { code, screen } = await onTerminal(server, [
      [
        /pid (\d+)/,
        (_type, seen) => {
          pid = Number(/pid (\d+)/.exec(seen)?.[1]);
        },
      ],
      [/started/, CTRL_C],
      [question, () => process.kill(pid, "SIGINT")],
    ]);
    assert.equal(code, 130, screen);
    assert.match(screen, /detached {4}task 01JD\w+ goes on/);
  });

  test("twice detaches", async () => {
    await using server = await withRunningTask();
    const { code, screen } = await onTerminal(server, [
      [/started/, CTRL_C],
      [question, CTRL_C],
    ]);
    assert.equal(code, 130, screen);
    assert.match(screen, /detached {4}task 01JD\w+ goes on/);
    assert.deepEqual(server.cancelled, []);
  });
});
