import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { LiveUsage } from "#server/application/live-usage.ts";
import type { Attempt, Task } from "#server/domain/task.ts";
import { NO_USAGE } from "#server/domain/task.ts";
import { SAMPLE_TIME, sampleTask } from "../support/sample-task.ts";

const attempt = (number: number, endTime: Date | null): Attempt => ({
  number,
  engine: "fake",
  sandboxId: `01S${number}`,
  containerId: "c",
  imageDigest: "sha256:1",
  isolation: "CONTAINER",
  warm: false,
  gpuIds: [],
  startTime: SAMPLE_TIME,
  runStartTime: SAMPLE_TIME,
  endTime,
  result: null,
  experimentRun: null,
  environmentId: "",
  usage: endTime === null ? null : NO_USAGE,
  released: false,
});

const running = (...attempts: Attempt[]): Task => ({ ...sampleTask(1), state: "RUNNING", attempts });
const known = { logBytes: 7, chargedMillis: 1000 };

describe("live usage", () => {
  test("keeps peaks and the latest CPU time, and is shown in the attempt under way", () => {
    const usage = new LiveUsage();
    const task = running(attempt(1, SAMPLE_TIME), attempt(2, null));
    const told: string[] = [];
    usage.changes.listen(task.tenant, () => told.push("change"));
    usage.note(task, 2, { cpuMicros: 10, ramBytes: 500, processes: 3, storageBytes: 10 }, known);
    usage.note(task, 2, { cpuMicros: 20, ramBytes: 100, processes: 1, storageBytes: 30 }, known);
    assert.equal(told.length, 2);
    const [first, second] = usage.present(task).attempts;
    assert.equal(first?.usage, NO_USAGE);
    assert.deepEqual(second?.usage, {
      cpuMicros: 20,
      peakRamBytes: 500,
      peakStorageBytes: 30,
      peakProcesses: 3,
      ...known,
      charge: null,
    });
  });

  test("of an earlier attempt is not taken for the next one's", () => {
    const usage = new LiveUsage();
    const task = running(attempt(1, null));
    usage.note(task, 1, { cpuMicros: 10, ramBytes: 500, processes: 3, storageBytes: 10 }, known);
    const next = running(attempt(1, SAMPLE_TIME), attempt(2, null));
    assert.equal(usage.present(next), next);
    usage.note(next, 2, { cpuMicros: 1, ramBytes: 5, processes: 1, storageBytes: 1 }, known);
    assert.equal(usage.present(next).attempts[1]?.usage?.peakRamBytes, 5);
  });

  test("never changes an attempt that has ended, and is gone once it is forgotten", () => {
    const usage = new LiveUsage();
    usage.note(
      running(attempt(1, null)),
      1,
      { cpuMicros: 1, ramBytes: 5, processes: 1, storageBytes: 1 },
      known,
    );
    const ended = running(attempt(1, SAMPLE_TIME));
    assert.equal(usage.present(ended), ended);
    usage.forget(ended.id);
    const again = running(attempt(1, null));
    assert.equal(usage.present(again), again);
  });
});
