import assert from "node:assert/strict";
import { test } from "node:test";
import { runFaultRounds } from "../faults/fault-rounds.ts";
import { KILL_POINTS } from "../faults/kill-points.ts";
import { whyNoServer } from "../support/running-server.ts";

test("a server killed at every boundary between stages loses nothing, runs nothing twice and leaves nothing", {
  skip: (await whyNoServer()) ?? false,
}, async (context) => {
  const report = await runFaultRounds({ rounds: KILL_POINTS.length, tasks: 6, seed: 1, millisPerLine: 50 });
  assert.deepEqual(report.problems, []);
  assert.deepEqual(report.leftovers, []);
  assert.equal(report.strangers, 0);
  assert.deepEqual(
    report.rounds.filter(({ reached }) => !reached).map(({ point }) => point),
    [],
  );
  context.diagnostic(`${report.tasks} tasks, ${report.freeAttempts} starts made again`);
});
