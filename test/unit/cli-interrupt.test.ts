import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { describe, test } from "node:test";
import { Task_State } from "@longshore/proto/longshore/v1/task";
import { CLI, runCli } from "../support/run-cli.ts";
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

const noScript =
  spawnSync("script", ["--version"]).error === undefined
    ? false
    : "needs script from util-linux for a terminal";

interface TerminalRun {
  readonly code: number | null;
  readonly screen: string;
}

/** Runs the command line on a terminal of its own; each step waits for text on the screen and then types. */
async function onTerminal(
  server: ScriptedServer,
  steps: readonly (readonly [
    seen: RegExp,
    typed: string | ((type: (keys: string) => void, seen: string) => void),
  ])[],
): Promise<TerminalRun> {
  // The shell tells its process id and becomes the command line.
  const command = `echo "pid $$"; exec '${process.execPath}' '${CLI}' run --code 1 --server ${server.address}`;
  const child = spawn("script", ["-qec", command, "/dev/null"], { env: { ...process.env, TERM: "xterm" } });
  let screen = "";
  let from = 0;
  const left = [...steps];
  child.stdout.on("data", (bytes: Buffer) => {
    screen += bytes.toString();
    for (let step = left[0]; step?.[0].test(screen.slice(from)); step = left[0]) {
      from = screen.length;
      left.shift();
      if (typeof step[1] === "string") child.stdin.write(step[1]);
      else step[1]((keys) => child.stdin.write(keys), screen);
    }
  });
  const [code] = await once(child, "close");
  child.stdin.destroy();
  return { code, screen };
}

describe("Ctrl-C on a terminal asks", { skip: noScript }, () => {
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
