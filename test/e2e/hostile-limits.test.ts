/** Tasks that take all they can get: each ends for the right reason, with the evidence, and harms nobody. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import {
  durationToMillis,
  type LimitName,
  type LimitSupport,
  limitName,
  type TaskOptions,
  type TaskOutcome,
} from "@longshore/client";
import { LimitSupport_Level } from "@longshore/proto/longshore/v1/system_service";
import { Termination_Killer } from "@longshore/proto/longshore/v1/task";
import { HostileBench, type Tier, throttledPeriods, tierMissing } from "../support/hostile-bench.ts";

const MEBIBYTE = 2 ** 20;
const { KERNEL, RUNNER, UNSPECIFIED } = Termination_Killer;

/** Reason, the limit behind it, and who acted. */
function endOf({ reason, record }: TaskOutcome) {
  const { termination } = record.result ?? {};
  const limit = termination === undefined ? undefined : limitName(termination.limit);
  return [reason, limit, termination?.killer ?? UNSPECIFIED];
}

function limitsHit({ record }: TaskOutcome): string[] {
  return (record.result?.limitsHit ?? []).map(limitName);
}

for (const isolation of ["container", "gvisor"] as const satisfies readonly Tier[]) {
  describe(`hostile to limits, in ${isolation}`, { skip: await tierMissing(isolation) }, () => {
    let bench: HostileBench;
    before(async () => {
      bench = await HostileBench.start();
    });
    after(async () => await bench?.finish());
    const attack = (name: string, options: TaskOptions = {}) => bench.attack(name, { isolation, ...options });

    test("a fork bomb gets no further than its limit, and ends", async () => {
      const outcome = await attack("fork_bomb", { maxProcesses: 50, ram: "1GB", timeout: "2s" });
      assert.equal(outcome.stdoutTail, "begun\n");
      if (isolation === "container") {
        assert.deepEqual(endOf(outcome), ["TIMED_OUT", "run_time", RUNNER]);
        assert.deepEqual(limitsHit(outcome), ["processes", "run_time"]);
        assert.ok((outcome.record.usage?.peakProcesses ?? 0) <= 52);
      } else {
        // gVisor's own kernel needs host threads for its processes, and falls when it gets no more.
        assert.deepEqual(endOf(outcome), ["PROCESS_LIMIT", "processes", KERNEL]);
      }
    });

    test("memory, of one process, of many, and as files in /dev/shm", async () => {
      for (const [name, args] of [
        ["memory_hog", []],
        ["memory_of_children", []],
        ["memory_hog", ["shm"]],
      ] as const) {
        const outcome = await attack(name, { args });
        assert.equal(outcome.stdoutTail, "begun\n");
        // gVisor's /dev/shm is as large as the RAM, and full before the RAM is.
        if (isolation === "gvisor" && args.length > 0 && outcome.reason === "EXITED") {
          assert.match(outcome.stderrTail, /No space left on device/);
          continue;
        }
        assert.deepEqual(endOf(outcome), ["OUT_OF_MEMORY", "ram", KERNEL]);
        assert.equal(outcome.advice, "used 64 MB of 64 MB; ask for more with resources.ram");
        assert.equal(outcome.record.result?.termination?.limitValue, BigInt(64 * MEBIBYTE));
      }
    });

    test("storage, wherever it is written", async () => {
      const outcome = await attack("disk_fill", { args: ["/workspace", "/tmp", "/home/task"] });
      assert.deepEqual(endOf(outcome), ["STORAGE_FULL", "storage", UNSPECIFIED]);
      const written = Number(outcome.stdoutTail.trim().split("\n").at(-1));
      assert.ok(written > 31 * MEBIBYTE && written <= 33 * MEBIBYTE, `${written} bytes of 32 MB`);
      const peak = Number(outcome.record.usage?.peakStorageBytes);
      assert.ok(peak >= written && peak <= 33 * MEBIBYTE, `a peak of ${peak}`);
      assert.match(outcome.advice, /^used 32 MB of 32 MB .*; ask for more with resources\.storage$/);
    });

    test("inodes", async () => {
      const outcome = await attack("inode_fill", { maxInodes: 500 });
      assert.deepEqual(endOf(outcome), ["STORAGE_FULL", "inodes", UNSPECIFIED]);
      const made = Number.parseInt(outcome.stdoutTail, 10);
      assert.ok(made > 450 && made < 550, `${made} files of 500`);
      assert.equal(outcome.record.result?.termination?.limitValue, 500n);
    });

    // gVisor's processes are threads on the host: the fork bomb above is its test.
    if (isolation === "container")
      test("processes that are refused", async () => {
        const outcome = await attack("forks_refused", { maxProcesses: 40 });
        assert.deepEqual(endOf(outcome), ["PROCESS_LIMIT", "processes", UNSPECIFIED]);
        assert.equal(outcome.advice.split(";")[0], "had 40 of 40 processes and threads");
      });

    test("open files, with a limit that cannot be raised", async () => {
      const outcome = await attack("open_files", { maxOpenFiles: 100 });
      assert.equal(outcome.exitCode, 0);
      const [opened = "", ...problem] = outcome.stdoutTail.trim().split(" ");
      assert.equal(problem.join(" "), "Too many open files");
      assert.ok(Number(opened) > 80 && Number(opened) <= 100, opened);
    });

    test("CPU", async () => {
      const task = await bench.submit("spin", { isolation, args: ["2"], cpu: "0.25" });
      if (isolation === "gvisor") {
        // What a sandbox sees of its own CPU time is gVisor's count; the host's says whether the quota holds.
        await bench.printed(task, "begun");
        await bench.until(async () => (await throttledPeriods()) > 2);
      }
      const outcome = await task.result();
      if (isolation === "gvisor") return;
      const used = durationToMillis(outcome.record.usage?.cpuTime ?? { seconds: 0n, nanos: 0 });
      assert.ok(used > 0 && used < 1000, `${used} ms of CPU in 2 s of 0.25 CPU`);
    });

    test("time in all, the wait included", async () => {
      const outcome = await attack("deaf", { totalTimeout: "2s", timeout: "60s" });
      assert.deepEqual(endOf(outcome), ["TIMED_OUT", "total_time", RUNNER]);
      assert.equal(outcome.record.result?.termination?.limitValue, 2000n);
      assert.match(outcome.advice, /^took 2 s of 2 s; ask for more with total_timeout/);
    });

    test("artifacts: files alone, and no more bytes than allowed", async () => {
      const task = await bench.submit("hostile_artifacts", { isolation, outputs: ["**"] });
      assert.equal((await task.result()).record.result?.artifactsError, "");
      const paths: string[] = [];
      for await (const artifact of task.artifacts.list()) paths.push(artifact.path);
      assert.deepEqual(paths.toSorted(), ["main.py", "plain"]);
      const greedy = await attack("hostile_artifacts", { outputs: ["plain"], maxArtifactBytes: 4 });
      assert.match(greedy.record.result?.artifactsError ?? "", /exceed 4 bytes/);
    });

    test("a demand that no tier can meet is refused at once, and what is only weak when it is insisted on", async () => {
      await assert.rejects(bench.submit("spin", { isolation, cpu: 64 }), /at most .* CPU can ever be had/);
      await assert.rejects(bench.submit("spin", { isolation, gpu: 64 }), /resources\.gpu/);
      const { engines } = await bench.client.capabilities();
      const tiers = engines[0]?.tiers ?? [];
      const tier = tiers[isolation === "container" ? 0 : 1];
      const insistOn = (limits: readonly LimitSupport[]) =>
        bench.submit("spin", {
          isolation,
          args: ["0"],
          requireEnforced: limits.map(({ limit }) => limitName(limit) as LimitName),
        });
      const isEnforced = ({ level }: LimitSupport) => level === LimitSupport_Level.ENFORCED;
      await (await insistOn(tier?.limits.filter(isEnforced) ?? [])).result();
      for (const weak of tier?.limits.filter((support) => !isEnforced(support)) ?? [])
        await assert.rejects(insistOn([weak]), /but the request needs it enforced/);
    });
  });
}
