/** Answers from equal earlier tasks, and equal tasks at once, through the whole application over a fake engine. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { describe, test } from "node:test";
import type { Task, TaskSpec } from "#server/domain/task.ts";
import { isFinished } from "#server/domain/transition.ts";
import { ApplicationBench, CALLER } from "../support/application-bench.ts";

const resources = { cpu: "0.1", gpu: "", ram: "64MB", storage: "64MB", gpuModel: "" };
const PROGRAM: Partial<TaskSpec> = {
  code: "import sys\nprint('out')\nprint('err', file=sys.stderr)\nopen('model.bin', 'w').write('weights')",
  outputs: ["*.bin"],
  resources,
  useResultCache: true,
};
/** Runs until it is told to end, so that others can come meanwhile. */
const SLOW: Partial<TaskSpec> = {
  code: "import time\nwhile True: time.sleep(0.01)",
  timeoutMillis: 3_600_000,
  resources,
  useResultCache: true,
};

async function outputOf(bench: ApplicationBench, id: string, cursor = ""): Promise<[string, string][]> {
  const request = { id, cursor, follow: true, tailBytes: 0, logs: true };
  const streams = new Map<string, string>();
  for await (const event of bench.application.watchTask(CALLER, request, AbortSignal.timeout(30_000))) {
    if (event.kind !== "log") continue;
    streams.set(event.stream, (streams.get(event.stream) ?? "") + Buffer.from(event.data).toString());
  }
  return [...streams].sort();
}

async function artifactsOf(bench: ApplicationBench, taskId: string) {
  const request = { taskId, pageSize: 100, pageToken: "", violations: [] };
  return (await bench.application.listArtifacts(CALLER, request)).artifacts;
}

async function waitingOn(bench: ApplicationBench, id: string): Promise<readonly string[]> {
  const { wait } = await bench.application.getTask(CALLER, id);
  return wait?.kind === "DEPENDENCY" ? wait.blockingTaskIds : [];
}

/** The record of a task of whichever tenant once it has ended and let go of its sandbox. */
async function ended(bench: ApplicationBench, id: string): Promise<Task> {
  for (;;) {
    const task = await bench.database.tasks.get(id);
    if (task !== undefined && isFinished(task)) return task;
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
}

const isRunning = ({ state }: Task) => state === "RUNNING";
const stop = (bench: ApplicationBench, id: string) => bench.application.cancelTask(CALLER, id, "", 0);

describe("the result cache", () => {
  test("answers at once with result, output and artifacts of the equal task, without an attempt or a charge", async () => {
    await using bench = await ApplicationBench.open();
    const first = await bench.finished((await bench.create(PROGRAM)).id);
    assert.equal(first.cachedFrom, "");
    const second = await bench.create(PROGRAM);
    assert.deepEqual([second.state, second.cachedFrom, second.attempts], ["SUCCEEDED", first.id, []]);
    assert.deepEqual(second.result, first.result);
    assert.ok(second.stages.every(({ endTime }) => endTime !== null));
    assert.deepEqual(await bench.database.tasks.get(second.id), second);
    assert.deepEqual(await artifactsOf(bench, second.id), await artifactsOf(bench, first.id));
    assert.deepEqual(await outputOf(bench, second.id), [
      ["STDERR", "err\n"],
      ["STDOUT", "out\n"],
    ]);
    // A third is answered from the one that ran, not from one that was answered itself.
    assert.equal((await bench.create(PROGRAM)).cachedFrom, first.id);
  });

  test("a watch of an answered task resumes in the middle of the other's output", async () => {
    await using bench = await ApplicationBench.open();
    const code =
      "import sys\nfor n in range(3):\n  sys.stdout.write(f'{n}\\n'); sys.stdout.flush()\n  sys.stderr.write('-')";
    await bench.finished((await bench.create({ ...PROGRAM, code })).id);
    const { id } = await bench.create({ ...PROGRAM, code });
    const request = { id, cursor: "", follow: true, tailBytes: 0, logs: true };
    let head = "";
    let rest: [string, string][] = [];
    for await (const event of bench.application.watchTask(CALLER, request, AbortSignal.timeout(30_000))) {
      if (event.kind !== "log" || event.stream !== "STDOUT") continue;
      head = Buffer.from(event.data).toString();
      rest = await outputOf(bench, id, event.cursor);
      break;
    }
    assert.equal(head + (new Map(rest).get("STDOUT") ?? ""), "0\n1\n2\n");
  });

  test("keeps output and artifacts for as long as any task shows them", async () => {
    await using bench = await ApplicationBench.open();
    const first = await bench.finished((await bench.create(PROGRAM)).id);
    const second = await bench.create(PROGRAM);
    await bench.application.deleteTask(CALLER, first.id);
    await bench.stop();
    await bench.start();
    assert.equal((await outputOf(bench, second.id)).length, 2);
    const [artifact] = await artifactsOf(bench, second.id);
    assert.equal(await bench.blobs.size(artifact?.sha256 ?? ""), "weights".length);
    // What it was answered from is gone, so that the next one runs again.
    const third = await bench.finished((await bench.create(PROGRAM)).id);
    assert.equal(third.cachedFrom, "");
    await bench.application.deleteTask(CALLER, second.id);
    const kept = await bench.engine.files.list();
    assert.deepEqual(kept, [third.attempts[0]?.sandboxId]);
  });

  const others: Readonly<Record<string, Partial<TaskSpec>>> = {
    code: { code: "print('other')" },
    args: { args: ["x"] },
    env: { env: { A: "1" } },
    stdin: { stdin: Buffer.from("x").toString("base64") },
    outputs: { outputs: ["*.bin", "*.txt"] },
    secrets: { secretEnv: { KEY: "value" } },
    resources: { resources: { ...resources, ram: "65MB" } },
    budgets: { budgets: { processes: 7, openFiles: 0, inodes: 0, logBytes: 0, artifactBytes: 0 } },
    network: { network: "EGRESS" },
    "not asking for it": { useResultCache: false },
  };

  test("never answers what differs in anything that goes into a run", async () => {
    await using bench = await ApplicationBench.open();
    await bench.finished((await bench.create(PROGRAM)).id);
    for (const [what, changes] of Object.entries(others)) {
      const { id } = await bench.create({ ...PROGRAM, ...changes });
      assert.equal((await bench.finished(id)).cachedFrom, "", what);
    }
    const alike: Partial<TaskSpec> = {
      displayName: "n",
      labels: { a: "b" },
      priority: 3,
      timeoutMillis: 60_000,
    };
    assert.notEqual((await bench.create({ ...PROGRAM, ...alike })).cachedFrom, "");
    // Equal secrets are equal, however they are sealed.
    assert.notEqual((await bench.create({ ...PROGRAM, secretEnv: { KEY: "value" } })).cachedFrom, "");
    const other = { ...CALLER, tenant: "other" };
    const spec = (await bench.create(PROGRAM)).spec;
    const foreign = await bench.application.createTask(other, { spec, secrets: {}, violations: [] });
    assert.equal(foreign.cachedFrom, "");
    await ended(bench, foreign.id);
    const cold = { ...PROGRAM, network: "EGRESS" as const };
    assert.equal((await bench.finished((await bench.create(cold)).id)).cachedFrom, "");
  });

  test("never answers from a task that failed, or whose artifacts are gone", async () => {
    await using bench = await ApplicationBench.open();
    const failing = { ...PROGRAM, code: "raise SystemExit(3)" };
    for (let run = 0; run < 2; run++) {
      const task = await bench.finished((await bench.create(failing)).id);
      assert.deepEqual([task.result?.exitCode, task.cachedFrom], [3, ""]);
    }
    const first = await bench.finished((await bench.create(PROGRAM)).id);
    const [artifact] = await artifactsOf(bench, first.id);
    assert.ok(await bench.blobs.removeBefore(artifact?.sha256 ?? "", new Date(Date.now() + 60_000)));
    const again = await bench.finished((await bench.create(PROGRAM)).id);
    assert.equal(again.cachedFrom, "");
    assert.equal((await bench.create(PROGRAM)).cachedFrom, again.id);
  });

  test("runs the task itself when the equal one is removed at the very moment it is to be used", async () => {
    await using bench = await ApplicationBench.open();
    const first = await bench.finished((await bench.create(PROGRAM)).id);
    const { tasks } = bench.database;
    const find = tasks.cacheSources.bind(tasks);
    tasks.cacheSources = async (...asked) => {
      const found = await find(...asked);
      await tasks.remove(first.id);
      return found;
    };
    const second = await bench.finished((await bench.create(PROGRAM)).id);
    assert.deepEqual([second.state, second.cachedFrom, second.attempts.length], ["SUCCEEDED", "", 1]);
  });

  test("answers a whole pipeline, step by step", async () => {
    await using bench = await ApplicationBench.open();
    const code = "print(open('in.bin').read()) if __import__('os').path.exists('in.bin') else None";
    const pipeline = async () => {
      const first = await bench.create({ ...PROGRAM, args: ["first"] });
      const input = {
        kind: "artifact",
        path: "in.bin",
        taskId: first.id,
        artifactPath: "model.bin",
      } as const;
      // Its artifact has no digest yet when the first run of this is asked for.
      const second = await bench.create({ ...PROGRAM, code, inputs: [input] });
      const third = await bench.create({ ...PROGRAM, args: ["third"], dependsOn: [second.id] });
      const tasks: Task[] = [];
      for (const { id } of [first, second, third]) tasks.push(await bench.finished(id));
      return tasks;
    };
    const ran = await pipeline();
    const answered = await pipeline();
    assert.deepEqual(
      answered.map(({ cachedFrom }) => cachedFrom),
      ran.map(({ id }) => id),
    );
  });
});

describe("equal tasks at once", () => {
  test("wait for the one that runs and are answered from it, also over a restart", async () => {
    await using bench = await ApplicationBench.open();
    const code =
      "import sys, os, time\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.01)\nprint('done')";
    const spec = { ...SLOW, code, args: [`${bench.folder.path}/go`] };
    const first = await bench.create(spec);
    const second = await bench.create(spec);
    await bench.until(first.id, isRunning);
    assert.deepEqual(await waitingOn(bench, second.id), [first.id]);
    await bench.stop();
    await bench.start();
    const third = await bench.create(spec);
    for (const { id } of [second, third]) assert.deepEqual(await waitingOn(bench, id), [first.id]);
    assert.equal((await bench.application.getCapacity("")).queued, 2);
    await writeFile(`${bench.folder.path}/go`, "");
    for (const { id } of [second, third]) {
      const ended = await bench.finished(id);
      assert.deepEqual([ended.cachedFrom, ended.result?.stdoutTail], [first.id, "done\n"]);
    }
    assert.equal((await bench.finished(first.id)).attempts.length, 1);
    assert.equal((await bench.application.getCapacity("")).queued, 0);
  });

  test("run one after the other when the first does not succeed", async () => {
    await using bench = await ApplicationBench.open();
    const first = await bench.create(SLOW);
    const second = await bench.create(SLOW);
    const third = await bench.create(SLOW);
    await bench.until(first.id, isRunning);
    await stop(bench, first.id);
    await bench.until(second.id, isRunning);
    assert.deepEqual(await waitingOn(bench, third.id), [second.id]);
    // Who waits can be cancelled without harm to the one that runs.
    await stop(bench, third.id);
    assert.equal((await bench.finished(third.id)).state, "CANCELLED");
    assert.equal((await bench.application.getTask(CALLER, second.id)).state, "RUNNING");
    await stop(bench, second.id);
    assert.equal((await bench.finished(second.id)).cachedFrom, "");
    await bench.finished(first.id);
  });

  test("do not hold up a more urgent one", async () => {
    await using bench = await ApplicationBench.open();
    const first = await bench.create(SLOW);
    const urgent = await bench.create({ ...SLOW, priority: 1 });
    for (const { id } of [first, urgent]) await bench.until(id, isRunning);
    for (const { id } of [first, urgent]) {
      await stop(bench, id);
      await bench.finished(id);
    }
  });
});
