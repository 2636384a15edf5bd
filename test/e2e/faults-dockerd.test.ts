import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Longshore, type Task, type TaskEvent } from "@longshore/client";
import { Wait_Kind } from "@longshore/proto/longshore/v1/task.ts";
import { NumberedTask, numberedCode } from "../faults/numbered-task.ts";
import { OwnDockerd } from "../support/own-dockerd.ts";
import { startServer, whyNoServer } from "../support/running-server.ts";

const skip = (await whyNoServer()) ?? false;
const TASKS = 3;

/** Resolves when `count` things have been told of. */
class Countdown {
  readonly #told = new Set<string>();
  readonly #count: number;
  readonly #done = Promise.withResolvers<void>();

  constructor(count: number) {
    this.#count = count;
  }

  get done(): Promise<void> {
    return this.#done.promise;
  }

  tell(id: string): void {
    this.#told.add(id);
    if (this.#told.size === this.#count) this.#done.resolve();
  }
}

async function until(task: Task, seen: (event: TaskEvent) => boolean): Promise<void> {
  for await (const event of task.watch()) if (seen(event)) return;
  assert.fail("the task ended first");
}

describe("dockerd killed under running tasks", { skip }, () => {
  test("with live-restore they go on, every line is there, and what was created meanwhile runs afterwards", async () => {
    await using dockerd = await OwnDockerd.start({ liveRestore: true });
    await using server = await startServer({ LONGSHORE_DOCKER: dockerd.address });
    await using client = new Longshore(server.address);
    const begun = new Countdown(TASKS);
    const wentOn = new Countdown(TASKS);
    let isDown = false;
    const seenWhileDown = new Map<string, number>();
    const onEvent = (event: TaskEvent, { task }: NumberedTask) => {
      if (event.kind !== "log") return;
      begun.tell(task.id);
      if (!isDown) return;
      const lines = (seenWhileDown.get(task.id) ?? 0) + 1;
      seenWhileDown.set(task.id, lines);
      if (lines === 5) wentOn.tell(task.id);
    };
    const submit = () => NumberedTask.submit(client, { code: numberedCode(100) }, { outputs: [] }, onEvent);
    const running = await Promise.all(Array.from({ length: TASKS }, submit));
    await begun.done;
    await dockerd.kill();
    isDown = true;
    const queued = await client.submit({ code: "print('late')" }, { cpu: "0.1" });
    await until(queued, (event) => event.kind === "task" && event.task.wait?.kind === Wait_Kind.ENGINE);
    await wentOn.done;
    await dockerd.start();
    await Promise.all(running.map(({ ended }) => ended));
    for (const task of running) {
      assert.deepEqual(await task.problems(), []);
      assert.equal((await task.task.get()).attempts.length, 1);
    }
    await queued.result();
    assert.equal((await queued.get()).result?.stdoutTail, "late\n");
    await server.stop();
    assert.deepEqual((await server.leftovers()).concat(await dockerd.docker("ps", "-aq")), [""]);
  });

  test("without it they are lost, and retried where that was asked for", async () => {
    await using dockerd = await OwnDockerd.start({ liveRestore: false });
    await using server = await startServer({ LONGSHORE_DOCKER: dockerd.address });
    await using client = new Longshore(server.address);
    const once = await client.submit({ code: numberedCode(100_000) }, { cpu: "0.1", timeout: "1h" });
    const twice = await client.submit(
      {
        code: "import sys, time\nprint('begun', flush=True)\nif TRY == 1: time.sleep(600)".replace(
          "TRY",
          "1",
        ),
      },
      { cpu: "0.1", timeout: "1h", maxAttempts: 2 },
    );
    for (const task of [once, twice]) await until(task, (event) => event.kind === "log");
    await dockerd.kill();
    await dockerd.start();
    const lost = await once.result({ reject: false });
    assert.equal(lost.reason, "LOST");
    const record = await once.get();
    assert.equal(record.attempts.length, 1);
    assert.equal(record.usage?.chargedTime?.seconds ?? 0n, 0n);
    assert.match(record.result?.advice ?? "", /max_attempts/);
    await until(twice, (event) => event.kind === "log" && event.attempt === 2);
    await twice.cancel({ grace: "0s" });
    await twice.result({ reject: false });
    const reasons = (await twice.get()).attempts.map((attempt) => attempt.result?.reason);
    assert.deepEqual(reasons, [14, 8], "LOST, then cancelled");
    await server.stop();
    assert.deepEqual((await server.leftovers()).concat(await dockerd.docker("ps", "-aq")), [""]);
  });
});
