/** Tasks that flood, garble or hold on to their output, and tasks that do not want to end. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { isTerminal, limitName, type Task, type TaskOptions } from "@longshore/client";
import { HostileBench, type Tier, tierMissing } from "../support/hostile-bench.ts";

const MEBIBYTE = 2 ** 20;

/** All output of a task that has ended, by stream, with what is kept nowhere. */
async function outputOf(task: Task) {
  const kept = { stdout: 0, stderr: 0, build: 0, dropped: 0 };
  for await (const event of task.watch()) {
    if (event.kind === "log") kept[event.stream] += event.data.length;
    if (event.kind === "gap") kept.dropped += event.droppedBytes;
  }
  return kept;
}

for (const isolation of ["container", "gvisor"] as const satisfies readonly Tier[]) {
  describe(`hostile with output, in ${isolation}`, { skip: await tierMissing(isolation) }, () => {
    let bench: HostileBench;
    before(async () => {
      bench = await HostileBench.start();
    });
    after(async () => await bench?.finish());
    const submit = (name: string, options: TaskOptions = {}) => bench.submit(name, { isolation, ...options });

    test("endless output ends at its budget, while watchers do not read", async () => {
      const maxLogBytes = 48 * MEBIBYTE;
      const task = await submit("endless_output", { maxLogBytes });
      // Five watchers take one event each and never ask for another until the task is long over.
      const watches = Array.from({ length: 5 }, () => task.watch());
      for (const watch of watches) await watch.next();
      const { reason, record } = await task.result({ reject: false });
      assert.equal(reason, "OUTPUT_LIMIT");
      assert.ok((await bench.growth()) < 200 * MEBIBYTE);
      const kept = await outputOf(task);
      assert.equal(kept.stdout + kept.stderr, maxLogBytes);
      assert.equal(
        kept.dropped,
        Number(record.result?.stdoutBytes) + Number(record.result?.stderrBytes) - maxLogBytes,
      );
      // A slow reader misses nothing of what is kept.
      const slow = watches[0];
      let read = 0;
      while (slow !== undefined) {
        const { value: event, done } = await slow.next();
        if (done === true) break;
        if (event.kind === "log") read += event.data.length;
      }
      assert.equal(read, maxLogBytes);
      for (const watch of watches) await watch.return();
    });

    test("2 GB without an end of line cost no more than the budget", async () => {
      const task = await submit("one_line", { args: ["2048"] });
      const { reason, advice } = await task.result({ reject: false });
      assert.equal(reason, "OUTPUT_LIMIT");
      assert.equal(advice.split(";")[0], "wrote 64 MB of 64 MB");
    });

    test("one line of 200 MB within its budget is kept to the byte", async () => {
      const task = await submit("one_line", { args: ["200"], maxLogBytes: 256 * MEBIBYTE });
      const { exitCode, stdoutTail } = await task.result();
      assert.equal(exitCode, 0);
      assert.equal(stdoutTail, "x".repeat(4096));
      assert.deepEqual(await outputOf(task), { stdout: 200 * MEBIBYTE, stderr: 0, build: 0, dropped: 0 });
    });

    test("NULs, broken characters and forged frames come through as they are", async () => {
      const task = await submit("nuls");
      const { reason, record } = await task.result();
      assert.equal(reason, "EXITED");
      const chunks: Uint8Array[] = [];
      for await (const { data } of task.logs()) chunks.push(data);
      const output = Buffer.concat(chunks);
      assert.equal(output.length, Number(record.result?.stdoutBytes));
      assert.ok(output.subarray(0, 100_000).every((byte) => byte === 0));
      assert.equal(output.at(-1), "k".charCodeAt(0));
      assert.ok(output.includes(Buffer.from("LSJRNL01")));
    });

    test("a daemon that holds the streams does not outlive its task, nor delay it", async () => {
      const { exitCode, stdoutTail } = await (await submit("daemon")).result();
      assert.equal(exitCode, 0);
      assert.match(stdoutTail, /^done\n/);
    });

    test("what stopped itself and everything else is ended by its time, and by a cancel", async () => {
      const timed = await (await submit("stop_everything", { timeout: "2s" })).result({ reject: false });
      assert.deepEqual([timed.reason, timed.signal], ["TIMED_OUT", 9]);
      const task = await submit("stop_everything");
      await bench.printed(task, "begun");
      await task.cancel({ grace: "1s" });
      const cancelled = await task.result({ reject: false });
      assert.deepEqual([cancelled.reason, cancelled.signal], ["CANCELLED", 9]);
    });

    test("what ignores SIGTERM is killed after its grace", async () => {
      const task = await submit("deaf");
      await bench.printed(task, "begun");
      await task.cancel({ grace: "1s" });
      const { reason, signal, record } = await task.result({ reject: false });
      assert.deepEqual([reason, signal], ["CANCELLED", 9]);
      assert.equal(record.state, 8);
    });
  });
}

describe("hostile while no server is there", { skip: await tierMissing("container") }, () => {
  test("deadline and log budget hold, and the next server tells the right reasons", async () => {
    const bench = await HostileBench.start();
    try {
      const late = await bench.submit("deaf", { timeout: "3s", cpu: "0.5" });
      const loud = await bench.submit("endless_output", { maxLogBytes: 256 * MEBIBYTE, cpu: "0.5" });
      await bench.printed(late, "begun");
      await bench.printed(loud, "spam");
      await bench.server.kill();
      // The neighbour goes on; both others end with nobody watching.
      await bench.until(async () => (await bench.runningSandboxes()) === 1);
      await bench.server.start();
      const ended = await late.result({ reject: false });
      const cut = await loud.result({ reject: false });
      assert.ok(isTerminal(ended.record) && isTerminal(cut.record));
      assert.deepEqual(
        [ended.reason, limitName(ended.record.result?.termination?.limit ?? 0), ended.stdoutTail],
        ["TIMED_OUT", "run_time", "begun\n"],
      );
      assert.equal(ended.record.result?.termination?.killer, 2);
      assert.ok((ended.record.result?.termination?.observedPeak ?? 0n) < 60_000n);
      assert.equal(cut.reason, "OUTPUT_LIMIT");
      const kept = await outputOf(loud);
      assert.equal(kept.stdout + kept.stderr, 256 * MEBIBYTE);
    } finally {
      await bench.finish();
    }
  });
});
