import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { RunnerEnd } from "#server/domain/journal.ts";
import type { SandboxExit } from "#server/domain/ports/engine.ts";
import { MEBIBYTE } from "#server/domain/resources.ts";
import { type EndFacts, NO_OUTPUT, verdict } from "#server/domain/verdict.ts";

const LIMITS: EndFacts["limits"] = {
  cpuMillis: 1000,
  ramBytes: 512 * MEBIBYTE,
  storageBytes: 1024 * MEBIBYTE,
  gpuCount: 0,
  processes: 64,
  openFiles: 1024,
  inodes: 5000,
  logBytes: 64 * MEBIBYTE,
  artifactBytes: MEBIBYTE,
  runMillis: 30_000,
  queueMillis: null,
  totalMillis: 90_000,
};

const END: RunnerEnd = {
  reason: "EXITED",
  exitCode: 1,
  signal: null,
  killer: null,
  limit: null,
  limitValue: 0,
  observedPeak: 0,
  process: "",
  limitsHit: [],
  message: "",
  cpuMicros: 0,
  peakRamBytes: 0,
  peakStorageBytes: 0,
  peakProcesses: 0,
  stdoutBytes: 0,
  stderrBytes: 0,
  artifactCount: 0,
  artifactBytes: 0,
  artifactsError: "",
};

const EXIT: SandboxExit = { exitCode: 0, oomKilled: false, lost: false, message: "" };

function judge(facts: Partial<EndFacts>) {
  return verdict({
    end: null,
    exit: EXIT,
    kill: null,
    cancelled: false,
    damage: "",
    limits: LIMITS,
    output: NO_OUTPUT,
    artifactsError: "",
    ...facts,
  });
}

const byRunner = (end: Partial<RunnerEnd>) => judge({ end: { ...END, ...end } });

describe("the verdict of a limit", () => {
  test("RAM: evidence and next step in one sentence, the raw peak in the record", () => {
    const result = byRunner({
      reason: "OUT_OF_MEMORY",
      signal: 9,
      killer: "KERNEL",
      limit: "RAM",
      limitValue: LIMITS.ramBytes,
      observedPeak: LIMITS.ramBytes + 5 * MEBIBYTE,
      process: "python3 (pid 7)",
    });
    assert.equal(result.message, "out of memory: used 512 MB of 512 MB, killed python3 (pid 7)");
    assert.equal(result.advice, "used 512 MB of 512 MB; ask for more with resources.ram");
    assert.equal(result.termination?.observedPeak, LIMITS.ramBytes + 5 * MEBIBYTE);
  });

  test("each other limit names what was had and the field that gives more", () => {
    const told = (
      [
        ["STORAGE_FULL", "STORAGE", LIMITS.storageBytes, LIMITS.storageBytes],
        ["STORAGE_FULL", "INODES", 0, 0],
        ["PROCESS_LIMIT", "PROCESSES", 64, 64],
        ["OUTPUT_LIMIT", "LOG", LIMITS.logBytes, LIMITS.logBytes + 4096],
        ["TIMED_OUT", "RUN_TIME", 30_000, 30_009],
        ["TIMED_OUT", "TOTAL_TIME", 1_900_000_090_000, 1_900_000_090_020],
      ] as const
    ).map(([reason, limit, limitValue, observedPeak]) =>
      byRunner({ reason, limit, limitValue, observedPeak, killer: "RUNNER" }),
    );
    assert.deepEqual(
      told.map(({ message, advice }) => [message, advice.split(";")[0]]),
      [
        ["filled its storage of 1 GB", "used 1 GB of 1 GB for workspace, /tmp and HOME"],
        [
          "made all of the 5000 files and folders that its storage may hold",
          "had 5000 of 5000 files and folders",
        ],
        ["wanted more than 64 processes and threads at once", "had 64 of 64 processes and threads"],
        ["wrote more than its log budget of 64 MB", "wrote 64 MB of 64 MB"],
        ["ran longer than its timeout of 30 s", "took 30 s of 30 s"],
        ["took longer than its total timeout of 90 s", "took 90 s of 90 s"],
      ],
    );
    const fields = [
      "resources.storage",
      "budgets.max_inodes",
      "budgets.max_processes",
      "budgets.max_log_bytes",
    ];
    for (const [index, field] of [...fields, "timeout", "total_timeout"].entries())
      assert.ok(told[index]?.advice.includes(`ask for more with ${field}`), told[index]?.advice);
    assert.deepEqual(
      [
        told[1]?.termination?.limitValue,
        told[5]?.termination?.limitValue,
        told[5]?.termination?.observedPeak,
      ],
      [5000, 90_000, 90_020],
    );
  });

  test("a sandbox that fell as a whole is judged by the engine's counters", () => {
    const killed = judge({ exit: { ...EXIT, exitCode: 137, oomKilled: true } });
    assert.deepEqual(
      [killed.reason, killed.termination?.limit, killed.termination?.killer, killed.limitsHit],
      ["OUT_OF_MEMORY", "RAM", "KERNEL", ["RAM"]],
    );
    const starved = judge({ exit: { ...EXIT, exitCode: 2, processesRefused: true } });
    assert.deepEqual([starved.reason, starved.termination?.limit], ["PROCESS_LIMIT", "PROCESSES"]);
    const broken = judge({ exit: { ...EXIT, exitCode: 1, message: `Traceback ${"x".repeat(5000)}` } });
    assert.equal(broken.reason, "SYSTEM_ERROR");
    assert.match(broken.message, /exit code 1\): Traceback x/);
    assert.ok(broken.message.length < 700);
  });

  test("the main process's own end decides, and the server's clock before a missing end frame", () => {
    const well = byRunner({ exitCode: 0, limitsHit: ["RAM"] });
    assert.deepEqual(
      [well.reason, well.termination, well.advice, well.limitsHit],
      ["EXITED", null, "", ["RAM"]],
    );
    const late = judge({ kill: "deadline", exit: { ...EXIT, oomKilled: true } });
    assert.deepEqual([late.reason, late.termination?.killer], ["TIMED_OUT", "SERVER"]);
    const stopped = { ...END, reason: "CANCELLED", killer: "CLIENT" } as const;
    assert.equal(judge({ kill: "output", end: stopped }).reason, "OUTPUT_LIMIT");
    assert.equal(judge({ kill: "output", end: stopped, cancelled: true }).reason, "CANCELLED");
    assert.equal(judge({ exit: null }).reason, "LOST");
    assert.equal(judge({ damage: "journal damaged", end: END }).reason, "SYSTEM_ERROR");
  });
});
