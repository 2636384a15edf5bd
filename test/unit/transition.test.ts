import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { CapacityLedger } from "#server/domain/capacity-ledger.ts";
import { WrongState } from "#server/domain/errors.ts";
import { isTerminal, NO_USAGE, type Task, type TaskResult } from "#server/domain/task.ts";
import { apply, currentAttempt, type TaskChange, TRANSITIONS } from "#server/domain/transition.ts";
import { withoutAttempt } from "#server/domain/verdict.ts";
import { SAMPLE_RESULT, SAMPLE_TIME, sampleAttempt, sampleTask } from "../support/sample-task.ts";

const time = SAMPLE_TIME;
const exited = (exitCode: number): TaskResult => ({ ...SAMPLE_RESULT, exitCode });
const fresh = sampleAttempt(1);
const lost = withoutAttempt("LOST", "gone", "");
const cancelled = withoutAttempt("CANCELLED", "cancelled", "");

function ended(result = exited(0)): TaskChange {
  return { kind: "end", time, result, usage: NO_USAGE, runTime: null, expireTime: time };
}

describe("a task's states", () => {
  test("a task runs from queue to success", () => {
    let task = sampleTask(1);
    task = apply(task, { kind: "start", attempt: fresh });
    assert.equal(task.state, "PREPARING");
    task = apply(task, { kind: "sandbox", containerId: "c1" });
    task = apply(task, { kind: "run", time });
    assert.equal(task.state, "RUNNING");
    assert.deepEqual(task.startTime, time);
    task = apply(task, { kind: "collect" });
    task = apply(task, ended());
    assert.equal(task.state, "SUCCEEDED");
    assert.equal(task.attempts[0]?.containerId, "c1");
    assert.equal(task.attempts[0]?.result?.exitCode, 0);
    assert.equal(task.version, 6);
  });

  test("a cancelled task that ended by itself first keeps its own ending", () => {
    const cancelling = sampleTask(1, { state: "CANCELLING", attempts: [fresh] });
    assert.equal(apply(cancelling, ended(exited(0))).state, "SUCCEEDED");
    assert.equal(apply(cancelling, ended(exited(3))).state, "FAILED");
    assert.equal(apply(cancelling, ended(cancelled)).state, "CANCELLED");
    assert.equal(apply(cancelling, ended(lost)).state, "CANCELLED");
  });

  test("a retry goes back to the queue and keeps the attempt", () => {
    const running = sampleTask(1, { state: "RUNNING", attempts: [{ ...fresh, runStartTime: time }] });
    const queued = apply(running, { kind: "retry", time, result: lost, usage: NO_USAGE, runTime: null });
    assert.equal(queued.state, "QUEUED");
    assert.equal(queued.result, null);
    assert.equal(queued.attempts[0]?.result?.reason, "LOST");
    assert.equal(currentAttempt(queued), undefined);
  });
});

const change: fc.Arbitrary<TaskChange> = fc.oneof(
  fc.constant<TaskChange>({ kind: "start", attempt: fresh }),
  fc.constant<TaskChange>({ kind: "sandbox", containerId: "c" }),
  fc.constant<TaskChange>({ kind: "run", time }),
  fc.constant<TaskChange>({ kind: "collect" }),
  fc.constant<TaskChange>({ kind: "cancel", cancellation: { reason: "", graceMillis: 0, time } }),
  fc.constant<TaskChange>({ kind: "retry", time, result: lost, usage: NO_USAGE, runTime: null }),
  fc.constantFrom(exited(0), exited(1), lost, cancelled).map(ended),
  fc.constant<TaskChange>({ kind: "stages" }),
  fc.constant<TaskChange>({ kind: "identify", cacheKey: "c".repeat(64) }),
  fc.constant<TaskChange>({ kind: "release", attempt: 1 }),
);

test("any order of events keeps terminal states terminal, versions rising and the ledger balanced", () => {
  fc.assert(
    fc.property(fc.array(change, { maxLength: 40 }), (changes) => {
      const ledger = new CapacityLedger(sampleTask(1).limits, {
        cpuMillis: 0,
        ramBytes: 0,
        storageBytes: 0,
        gpuCount: 0,
      });
      let task: Task = sampleTask(1);
      for (const next of changes) {
        const before = task;
        if (TRANSITIONS[task.state][next.kind] === undefined) {
          assert.throws(() => apply(task, next), WrongState);
          continue;
        }
        if (next.kind === "sandbox" && currentAttempt(task) === undefined) continue;
        task = apply(task, next);
        assert.equal(task.version, before.version + 1);
        if (isTerminal(before.state)) {
          assert.equal(task.state, before.state);
          assert.deepEqual(task.result, before.result);
          assert.deepEqual(task.endTime, before.endTime);
        }
        // What the application does: an attempt holds resources exactly while it is the current one.
        const holds = currentAttempt(task) !== undefined;
        if (holds && !ledger.holds(task.id)) assert.ok("resources" in ledger.tryHold(task.id, task.limits));
        if (!holds && ledger.holds(task.id)) ledger.giveBack(task.id);
        assert.equal(ledger.holdCount, holds ? 1 : 0);
        assert.equal(isTerminal(task.state), task.result !== null);
      }
    }),
    { numRuns: 500 },
  );
});

const GPUS = ["GPU-1", "GPU-2"].map((id) => ({ id, model: "Fake GPU" }));

type LedgerEvent = { readonly task: number; readonly does: "start" | "retry" | "end" } | "restart";

const ledgerEvent: fc.Arbitrary<LedgerEvent> = fc.oneof(
  {
    weight: 9,
    arbitrary: fc.record({ task: fc.nat({ max: 5 }), does: fc.constantFrom("start", "retry", "end") }),
  },
  { weight: 1, arbitrary: fc.constant<LedgerEvent>("restart") },
);

test("over any starts, retries, ends and restarts the ledger holds what the records say, no GPU twice, and nothing at the end", () => {
  const total = { cpuMillis: 4000, ramBytes: 2 ** 31, storageBytes: 2 ** 33, gpuCount: 2 };
  const none = { cpuMillis: 0, ramBytes: 0, storageBytes: 0, gpuCount: 0 };
  fc.assert(
    fc.property(
      fc.array(ledgerEvent, { maxLength: 60 }),
      fc.array(fc.nat({ max: 2 }), { minLength: 6, maxLength: 6 }),
      (events, gpus) => {
        let ledger = new CapacityLedger(total, none, GPUS);
        const tasks = gpus.map((gpuCount, place) =>
          sampleTask(place + 1, { limits: { ...sampleTask(1).limits, gpuCount } }),
        );
        for (const event of events) {
          if (event === "restart") {
            ledger = new CapacityLedger(total, none, GPUS);
            for (const task of tasks) {
              const attempt = currentAttempt(task);
              if (attempt !== undefined)
                ledger.adopt({ taskId: task.id, resources: task.limits, gpuIds: attempt.gpuIds });
            }
          } else {
            const task = tasks[event.task];
            if (task !== undefined) tasks[event.task] = step(task, event.does, ledger);
          }
          const holding = tasks.filter((task) => currentAttempt(task) !== undefined);
          assert.equal(ledger.holdCount, holding.length);
          assert.equal(
            ledger.held.cpuMillis,
            holding.reduce((sum, { limits }) => sum + limits.cpuMillis, 0),
          );
          const held = holding.flatMap((task) => currentAttempt(task)?.gpuIds ?? []);
          assert.equal(new Set(held).size, held.length);
          assert.ok(ledger.held.cpuMillis <= total.cpuMillis && ledger.held.gpuCount <= total.gpuCount);
        }
        for (const task of tasks) step(task, "end", ledger);
        assert.equal(ledger.holdCount, 0);
        assert.deepEqual(ledger.held, none);
      },
    ),
    { numRuns: 300 },
  );
});

/** What the application does with record and ledger; a step that the state does not allow changes neither. */
function step(task: Task, does: "start" | "retry" | "end", ledger: CapacityLedger): Task {
  if (does === "start") {
    if (task.state !== "QUEUED") return task;
    const hold = ledger.tryHold(task.id, task.limits);
    if (!("resources" in hold)) return task;
    return apply(task, {
      kind: "start",
      attempt: sampleAttempt(task.attempts.length + 1, { gpuIds: hold.gpuIds }),
    });
  }
  if (currentAttempt(task) === undefined) return task;
  ledger.giveBack(task.id);
  return apply(
    task,
    does === "end" ? ended(lost) : { kind: "retry", time, result: lost, usage: NO_USAGE, runTime: null },
  );
}
