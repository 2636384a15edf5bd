import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { describe, test } from "node:test";
import { status } from "@grpc/grpc-js";
import { Task_State, TaskResult_Reason } from "@longshore/proto/longshore/v1/task";
import { LogChunk_Stream } from "@longshore/proto/longshore/v1/task_service";
import { CLI, runCli } from "../support/run-cli.ts";
import { badRequest, richError, ScriptedServer, type ScriptedTask } from "../support/scripted-server.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";

const MEBIBYTE = 2n ** 20n;

describe("longshore run", () => {
  test("passes on the task's output byte for byte, says the rest on standard error, and ends with the task's code", async () => {
    await using server = await ScriptedServer.start();
    const noise = randomBytes(300_000);
    server.onCreate = (task) => {
      task.change({
        state: Task_State.QUEUED,
        wait: { message: "waiting for 1 GB RAM (0.4 GB free)", position: 2, kind: 1 },
      });
      task.change({
        state: Task_State.RUNNING,
        wait: undefined,
        attempts: [{ number: 1, warm: true }],
        effectiveResources: { cpuMillis: 2000n, ramBytes: 1024n * MEBIBYTE, storageBytes: 2048n * MEBIBYTE },
      });
      task.log(noise.subarray(0, 1000));
      task.log("complaint\n", LogChunk_Stream.STDERR);
      task.log(noise.subarray(1000));
      task.change({
        elapsed: { seconds: 41n, nanos: 300_000_000 },
        usage: { cpuTime: { seconds: 78n, nanos: 100_000_000 }, peakRamBytes: 812n * MEBIBYTE },
      });
      task.exit(0);
    };
    await using folder = await TemporaryFolder.create({ "hello.py": "print('hello')" });
    const result = await runCli(["run", folder.at("hello.py"), "--cpu", "2", "--", "--epochs", "3"], {
      server: server.address,
    });
    assert.equal(result.code, 0, result.stderr);
    assert.deepEqual(result.stdoutBytes, noise);
    assert.match(result.stderr, /^task {8}01JD\w+ {2}trace 4bf92f/m);
    assert.match(result.stderr, /^queued {6}waiting for 1 GB RAM \(0\.4 GB free\), 2nd in line$/m);
    assert.match(result.stderr, /^running {5}warm sandbox, 2 CPU · 1 GB RAM · 2 GB disk · no network$/m);
    assert.match(result.stderr, /^complaint$/m);
    assert.match(
      result.stderr,
      /^succeeded {3}in 41\.3 s {2}· {2}cpu 78\.1 s {2}· {2}peak RAM 812 MB of 1 GB$/m,
    );
    assert.ok(!result.stderr.includes("\u001b"), "colours without a terminal");
    const [created] = server.created;
    assert.deepEqual(created?.args, ["--epochs", "3"]);
    assert.equal(created?.code, "print('hello')");
    assert.equal(created?.resources?.cpu, "2");
  });

  const endings: [string, (task: ScriptedTask) => void, number, RegExp][] = [
    ["its own code", (task) => task.exit(3), 3, /^failed {6}exited with 3$/m],
    [
      "128 + signal",
      (task) =>
        task.end(Task_State.FAILED, { reason: TaskResult_Reason.SIGNALED, signal: 11, message: "signal 11" }),
      139,
      /signal 11/,
    ],
    [
      "124 for a timeout",
      (task) =>
        task.end(Task_State.FAILED, {
          reason: TaskResult_Reason.TIMED_OUT,
          signal: 9,
          message: "ran too long",
        }),
      124,
      /ran too long/,
    ],
    [
      "137 for memory, with advice",
      (task) =>
        task.end(Task_State.FAILED, {
          reason: TaskResult_Reason.OUT_OF_MEMORY,
          message: "out of memory after 12.4 s",
          advice: "ask for more with --ram",
        }),
      137,
      /^failed {6}out of memory after 12\.4 s\n {12}ask for more with --ram$/m,
    ],
    [
      "130 when cancelled",
      (task) =>
        task.end(Task_State.CANCELLED, { reason: TaskResult_Reason.CANCELLED, message: "cancelled by ana" }),
      130,
      /^cancelled {3}cancelled by ana$/m,
    ],
    [
      "125 for the rest",
      (task) => task.end(Task_State.FAILED, { reason: TaskResult_Reason.STORAGE_FULL, message: "disk full" }),
      125,
      /disk full/,
    ],
  ];
  for (const [what, end, code, shown] of endings) {
    test(`ends with ${what}`, async () => {
      await using server = await ScriptedServer.start();
      server.onCreate = end;
      const result = await runCli(["run", "--code", "1"], { server: server.address });
      assert.equal(result.code, code, result.stderr);
      assert.match(result.stderr, shown);
    });
  }

  test("refuses requirements together with none at all, in either order", async () => {
    for (const flags of [
      ["--requirements", "six", "--no-requirements"],
      ["--no-requirements", "--requirements", "six"],
    ]) {
      const { code, stderr } = await runCli(["run", "--code", "1", ...flags], { server: "127.0.0.1:1" });
      assert.equal(code, 2, stderr);
      assert.match(stderr, /either --requirements or --no-requirements/);
    }
  });

  test("tells of the flags that people typed, counted from one", async () => {
    await using server = await ScriptedServer.start();
    const violations = [
      { field: "depends_on[1]", description: "there is no task x" },
      { field: "inputs[0].path", description: "must be relative" },
      { field: "environment.preload[0]", description: "is no module" },
      { field: "webhooks[0].url", description: "is no address" },
    ];
    server.refuse = () =>
      richError(status.INVALID_ARGUMENT, "INVALID_REQUEST", "3 problems", [badRequest(violations)]);
    const { stderr } = await runCli(["run", "--code", "1"], { server: server.address });
    assert.match(stderr, /^ {2}--depends-on #2 +there is no task x$/m);
    assert.match(stderr, /^ {2}--input #1 +must be relative$/m);
    assert.match(stderr, /^ {2}--preload #1 +is no module$/m);
    assert.match(stderr, /^ {2}--webhook #1 +is no address$/m);
  });

  test("has a help without empty defaults", async () => {
    const { stdout } = await runCli(["run", "--help"]);
    assert.match(stdout, /--depends-on/);
    assert.doesNotMatch(stdout, /default: \[\]/);
  });

  test("packs and uploads a folder, and says when nothing needs to be sent", async () => {
    await using server = await ScriptedServer.start();
    await using folder = await TemporaryFolder.create({ "train/main.py": "1", "train/.git/HEAD": "x" });
    const options = { server: server.address, cwd: folder.path };
    const first = await runCli(["run", "train/", "--out", "model/*.bin"], options);
    assert.match(first.stderr, /^packing {5}train\/ {2}1 file, 1 byte$/m);
    assert.match(first.stderr, /^uploading {3}[\d.]+ kB of [\d.]+ kB {2}done$/m);
    assert.match(first.stderr, /^artifacts {3}nothing matches model\/\*\.bin$/m);
    const second = await runCli(["run", "train/"], options);
    assert.match(second.stderr, /^uploading {3}nothing to send, the server has all/m);
    assert.equal(server.uploads.length, 1);
  });

  test("lists what the task left behind", async () => {
    await using server = await ScriptedServer.start();
    server.onCreate = (task) => {
      task.artifacts.set("model/weights.bin", randomBytes(2048));
      task.exit(0);
    };
    const result = await runCli(["run", "--code", "1", "--out", "model/*"], { server: server.address });
    assert.match(result.stderr, /^artifacts {3}model\/weights\.bin {2}2 kB$/m);
    assert.match(result.stderr, /longshore artifacts 01JD\w+ --all/);
  });

  test("--detach and submit print the id alone, and leave the task to itself", async () => {
    await using server = await ScriptedServer.start();
    server.onCreate = (task) => task.change({ state: Task_State.RUNNING });
    for (const args of [["run", "--detach"], ["submit"]]) {
      const result = await runCli([...args, "--code", "1"], { server: server.address });
      assert.equal(result.code, 0);
      assert.match(result.stdout, /^01JD\w+\n$/);
      assert.equal(result.stderr, "");
    }
    assert.equal(server.watches.length, 0);
  });

  test("--json prints one event per line", async () => {
    await using server = await ScriptedServer.start();
    server.onCreate = (task) => {
      task.log("héllo\n");
      task.log(Uint8Array.of(0xff, 0xfe));
      task.exit(4);
    };
    const result = await runCli(["run", "--json", "--code", "1"], { server: server.address });
    const events = result.stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    assert.deepEqual(
      events.map(({ kind, text, data }) => text ?? data ?? kind),
      ["created", "héllo\n", "//4=", "task"],
    );
    assert.equal(events[3].task.result.exitCode, 4);
    assert.equal(result.stderr, "");
    assert.equal(result.code, 4);
  });

  test("-q leaves the task's output alone on both streams", async () => {
    await using server = await ScriptedServer.start();
    server.onCreate = (task) => {
      task.log("out");
      task.log("err", LogChunk_Stream.STDERR);
      task.exit(1);
    };
    const result = await runCli(["-q", "run", "--code", "1"], { server: server.address });
    assert.deepEqual([result.stdout, result.stderr, result.code], ["out", "err", 1]);
  });

  test("takes the program from -, and the task's input from --stdin", async () => {
    await using server = await ScriptedServer.start();
    const options = { server: server.address, input: "piped in" };
    await runCli(["run", "-"], options);
    await runCli(["run", "--code", "1", "--stdin", "-"], options);
    await runCli(["run", "--code", "1"], options);
    assert.deepEqual(
      server.created.map(({ code, stdin }) => [code, Buffer.from(stdin).toString()]),
      [
        ["piped in", ""],
        ["1", "piped in"],
        ["1", ""],
      ],
    );
  });

  test("--command runs a program instead of Python, with a project or without", async () => {
    await using server = await ScriptedServer.start();
    await using folder = await TemporaryFolder.create({ "p/run.sh": "ls" });
    await runCli(["run", folder.at("p"), "--command", "--", "bash", "run.sh", "-x"], {
      server: server.address,
    });
    await runCli(["run", "--command", "--", "ls", "-l"], { server: server.address });
    const [project, alone] = server.created;
    assert.deepEqual(project?.command, ["bash", "run.sh", "-x"]);
    assert.notEqual(project?.archiveSha256, "");
    assert.deepEqual([alone?.command, alone?.archiveSha256, alone?.args], [["ls", "-l"], "", []]);
  });

  test("takes variables from here when no value is given", async () => {
    await using server = await ScriptedServer.start();
    await runCli(
      ["run", "--code", "1", "-e", "A=1=2", "-e", "FROM_HERE", "--secret-env", "TOKEN", "-l", "team=x"],
      {
        server: server.address,
        env: { FROM_HERE: "yes", TOKEN: "s3cret" },
      },
    );
    const [created] = server.created;
    assert.deepEqual(created?.env, { A: "1=2", FROM_HERE: "yes" });
    assert.deepEqual(created?.secretEnv, { TOKEN: "s3cret" });
    assert.deepEqual(created?.labels, { team: "x" });
  });

  test("shows names of others without the power to move the cursor", async () => {
    await using server = await ScriptedServer.start();
    server.onCreate = (task) =>
      task.end(Task_State.FAILED, {
        reason: TaskResult_Reason.STORAGE_FULL,
        message: "full\u001b[2J\u009b31m\rok",
      });
    const result = await runCli(["run", "--code", "1"], { server: server.address });
    assert.match(result.stderr, /full\\x1b\[2J\\x9b31m\\x0dok/);
  });

  test("detaches when nobody reads its output any more", async () => {
    await using server = await ScriptedServer.start();
    server.onCreate = (task) => {
      task.change({ state: Task_State.RUNNING });
      for (let line = 0; line < 2000; line += 1) task.log(`${"x".repeat(1000)}\n`);
    };
    const child = spawn(process.execPath, [CLI, "run", "--code", "1", "--server", server.address]);
    let stderr = "";
    child.stderr.on("data", (text: Buffer) => {
      stderr += text.toString();
    });
    child.stdout.once("data", () => child.stdout.destroy());
    const [code] = await once(child, "close");
    assert.equal(code, 141, stderr);
    assert.match(stderr, /nobody reads the output; task 01JD\w+ goes on/);
    assert.equal(server.cancelled.length, 0);
  });
});

describe("what is wrong", () => {
  test("with the command line is named at once, by flag", async () => {
    const result = await runCli(
      [
        "run",
        "--code",
        "1",
        "--timeout",
        "10",
        "-e",
        "=x",
        "--label",
        "x",
        "--network",
        "lan",
        "--priority",
        "high",
      ],
      {},
    );
    assert.equal(result.code, 2);
    assert.equal(
      result.stderr,
      [
        "error: 5 problems with the request",
        '  --env       "=x" is not of the form KEY=VALUE',
        '  --label     "x" is not of the form KEY=VALUE',
        '  --priority  "high" is not a whole number',
        '  --timeout   "10" needs a number and a unit, such as 30s, 10m or 1h30m',
        '  --network   "lan" is not one of none, egress, tracking',
        "",
      ].join("\n"),
    );
  });

  test("with the request is named by flag as the server says it", async () => {
    await using server = await ScriptedServer.start();
    const violations = [
      { field: "resources.ram", description: '"512" needs a unit, such as 512MB or 1GB' },
      { field: "env[LD_PRELOAD]", description: "is refused" },
      { field: "placement.engine", description: "is unknown" },
    ];
    server.refuse = () =>
      richError(status.INVALID_ARGUMENT, "INVALID_REQUEST", "3 problems", [badRequest(violations)]);
    const result = await runCli(["run", "--code", "1"], { server: server.address });
    assert.equal(result.code, 2);
    assert.match(result.stderr, /^error: 3 problems with the request$/m);
    assert.match(result.stderr, /^ {2}--ram {13}"512" needs a unit/m);
    assert.match(result.stderr, /^ {2}--env LD_PRELOAD {2}is refused$/m);
    const json = await runCli(["--json", "run", "--code", "1"], { server: server.address });
    assert.deepEqual(JSON.parse(json.stderr).error.violations, violations);
    assert.equal(json.stdout, "");
  });

  test("with the usage says what is right", async () => {
    for (const [args, said] of [
      [["run"], /nothing to run/],
      [["run", "a.py", "x"], /arguments of the task go after --: longshore run a\.py -- x/],
      [["run", "a.py", "--code", "1"], /either a path or --code/],
      [["run", "--command"], /needs a program after --/],
      [["run", "missing.py"], /missing\.py {2}there is no such file or folder/],
      [["frobnicate"], /unknown command/],
      [["run", "--cpus", "1"], /Did you mean --cpu/],
      [["logs"], /missing required argument 'id'/],
      [["cancel"], /name tasks by id or by --label/],
      [["logs", "x", "--tail", "few"], /is not a number of lines/],
    ] as const) {
      const result = await runCli(args);
      assert.equal(result.code, 2, `${args.join(" ")}: ${result.stderr}`);
      assert.match(result.stderr, said);
      assert.doesNotMatch(result.stderr, /^\s+at /m);
    }
  });

  test("with the connection is one clear sentence", async () => {
    const server = await ScriptedServer.start();
    server.kill();
    const result = await runCli(["ps"], { server: server.address });
    assert.equal(result.code, 69);
    assert.match(
      result.stderr,
      new RegExp(`^error: no server answers at ${server.address}\n {2}start one with scripts/serve`),
    );
  });
});
