import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { GetCapabilitiesResponse } from "@longshore/proto/longshore/v1/system_service.ts";
import { CreateTaskRequest, Stage, Stage_Name, Task_State } from "@longshore/proto/longshore/v1/task.ts";
import { timeline } from "../../clients/cli/src/output/timeline.ts";
import { runCli } from "../support/run-cli.ts";
import { ScriptedServer } from "../support/scripted-server.ts";

const at = (millis: number) => new Date(1_700_000_000_000 + millis);

function stage(name: Stage_Name, from: number, to: number | undefined, fields: Partial<Stage> = {}): Stage {
  return Stage.fromPartial({
    name,
    startTime: at(from),
    endTime: to === undefined ? undefined : at(to),
    ...fields,
  });
}

describe("the timeline of a task", () => {
  test("is a bar for each stage on one axis", () => {
    const lines = timeline(
      [stage(Stage_Name.QUEUE, 0, 500), stage(Stage_Name.RUN, 500, 1000, { note: "exit 0" })],
      at(9000),
    );
    assert.deepEqual(lines, [
      `  queue          ▏${"█".repeat(18)}${" ".repeat(18)}    500 ms`,
      `  run            ▏${" ".repeat(18)}${"█".repeat(18)}    500 ms   exit 0`,
    ]);
  });

  test("shows a stage of no length, and one that goes on up to now", () => {
    const lines = timeline([stage(Stage_Name.VALIDATE, 0, 0), stage(Stage_Name.RUN, 0, undefined)], at(2000));
    assert.match(lines[0] ?? "", /▏█ /);
    assert.match(lines[1] ?? "", /2 s {3}goes on$/);
  });

  test("tells attempts apart, and never lets a note move the cursor", () => {
    const lines = timeline(
      [
        stage(Stage_Name.RUN, 0, 10, { attempt: 1 }),
        stage(Stage_Name.RUN, 20, 30, { attempt: 2, note: "a\u001b[2Jb" }),
      ],
      at(30),
    );
    assert.match(lines[0] ?? "", /run #1/);
    assert.match(lines[1] ?? "", /run #2.*a\\x1b\[2Jb/);
  });

  test("of nothing is nothing", () => assert.deepEqual(timeline([], at(0)), []));
});

describe("longshore describe", () => {
  const MB = 2n ** 20n;

  async function describeRunning(traceUrl: string) {
    const server = await ScriptedServer.start();
    server.capabilities = GetCapabilitiesResponse.fromPartial({ traceUrl });
    const task = server.create(CreateTaskRequest.fromPartial({ displayName: "train.py", requestId: "1" }));
    task.change({
      state: Task_State.RUNNING,
      elapsed: { seconds: 12n, nanos: 0 },
      effectiveResources: { cpuMillis: 2000n, ramBytes: 512n * MB, storageBytes: 1024n * MB },
      effectiveBudgets: { maxProcesses: 256, maxLogBytes: 64n * MB },
      effectiveTimeout: { seconds: 600n, nanos: 0 },
      usage: {
        cpuTime: { seconds: 18n, nanos: 0 },
        peakRamBytes: 82n * MB,
        peakStorageBytes: 3n * MB,
        peakProcesses: 9,
        logBytes: 2048n,
      },
      stages: [
        stage(Stage_Name.QUEUE, 0, 4100, { note: "waited for RAM" }),
        stage(Stage_Name.RUN, 4100, undefined),
      ],
    });
    return { server, task };
  }

  test("shows each limit beside what was used of it, what it waited for, and where its trace is", async () => {
    const { server, task } = await describeRunning("http://localhost:16686/trace/{trace_id}");
    await using _server = server;
    const { stdout, code } = await runCli(["describe", task.id], { server: server.address });
    assert.equal(code, 0);
    const lines = stdout.split("\n");
    for (const line of [
      "limits      2 CPU (18 s used) · 512 MB RAM (82 MB) · 1 GB disk (3 MB)",
      "            256 processes (9) · 64 MB output (2 kB) · timeout 10 min (12 s)",
      "trace       http://localhost:16686/trace/4bf92f3577b34da6a3ce929d0e0e4736",
    ])
      assert.ok(lines.includes(line), `no line "${line}" in:\n${stdout}`);
    assert.match(stdout, /^ {2}queue .* 4\.1 s {3}waited for RAM$/m);
    const json = await runCli(["describe", task.id, "--json"], { server: server.address });
    const record = JSON.parse(json.stdout);
    assert.equal(record.traceUrl, "http://localhost:16686/trace/4bf92f3577b34da6a3ce929d0e0e4736");
    assert.equal(record.effectiveTimeout, "600s");
  });

  test("shows the trace's id where nobody said where traces are", async () => {
    const { server, task } = await describeRunning("");
    await using _server = server;
    const { stdout } = await runCli(["describe", task.id], { server: server.address });
    assert.match(stdout, /^trace {7}4bf92f3577b34da6a3ce929d0e0e4736$/m);
  });
});
