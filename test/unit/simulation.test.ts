/** The real scheduler, in virtual time: what docs/queue.md and docs/scaling.md promise of it, on clusters small enough to play in seconds. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { waterFill } from "../simulation/fairness.ts";
import { AGING_MILLIS, LONE_PRIORITY, SCENARIOS, starvation } from "../simulation/scenarios.ts";
import { type Plan, simulate } from "../simulation/simulate.ts";
import { VirtualTime } from "../simulation/virtual-time.ts";

const AGING_SECONDS = AGING_MILLIS / 1000;

function planOf(scenario: string, place: number, minutes: number): Plan {
  const plan = SCENARIOS.find(({ name }) => name === scenario)?.plans[place];
  assert.ok(plan !== undefined, `there is no plan ${place} of ${scenario}`);
  return { ...plan, workload: { ...plan.workload, minutes } };
}

describe("virtual time", () => {
  test("runs what is due in order, with what it brings about", () => {
    const time = new VirtualTime(new Date(0));
    const seen: number[] = [];
    for (const millis of [50, 10, 40, 20, 30]) time.at(millis, () => seen.push(time.now));
    time.at(20, () => time.at(25, () => seen.push(time.now)));
    while (time.step());
    assert.deepEqual(seen, [10, 20, 25, 30, 40, 50]);
  });
});

describe("a simulated cluster", () => {
  test("is the same again with the same seed", async () => {
    const plan = planOf("engines", 1, 2);
    const [one, two, other] = [
      await simulate(plan),
      await simulate(plan),
      await simulate({ ...plan, seed: 2 }),
    ];
    assert.deepEqual(two.waits, one.waits);
    assert.notDeepEqual(other.waits, one.waits);
  });

  test("is kept busy while tasks wait, and every task is run", async () => {
    const { utilisation, tasks, mostQueued, waits } = await simulate(planOf("overload", 0, 20));
    assert.ok(mostQueued > 200, `${mostQueued} queued at most: there was no overload`);
    assert.ok(utilisation > 0.99, `${utilisation} of the CPUs were held`);
    assert.ok((waits.find(({ name }) => name === "all")?.count ?? 0) > tasks / 2);
  });

  test("starts nobody before one of its size that came an ageing interval earlier, priorities counted", async () => {
    for (const plan of [planOf("engines", 3, 5), planOf("overload", 0, 30), starvation(1.2, 90)]) {
      const { passedBySeconds } = await simulate(plan);
      assert.ok(
        passedBySeconds < AGING_SECONDS + 0.01,
        `${plan.name}: passed by one that came ${passedBySeconds} s later`,
      );
    }
  });

  test("starts a task of no priority, and one that takes all of it, among urgent ones that never cease", async () => {
    const load = 1.2;
    const { extraWaitSeconds } = await simulate(starvation(load, 120));
    // Urgent tasks that came less than this later go before it; at this load it takes 1.2 s to serve what comes in a second.
    const ahead = (LONE_PRIORITY + 1) * AGING_SECONDS;
    const [small = Number.NaN, whole = Number.NaN] = extraWaitSeconds;
    const most = load * ahead + 60 * 10 * (load - 1) + 600;
    assert.ok(small <= most, `the small one waited ${small} s, ${most} s at most`);
    // Then up to 16 others go past it, and what runs has to end.
    assert.ok(whole <= most + 1800, `the one that takes everything waited ${whole} s`);
  });

  test("gives tenants their due under overload when nothing ages", async () => {
    const { fairness, shares } = await simulate(planOf("overload", 2, 60));
    const all = shares.reduce((sum, { held }) => sum + held, 0);
    const greedy = shares.find(({ tenant }) => tenant === "greedy");
    assert.ok(fairness.index > 0.99, `Jain's index is ${fairness.index}`);
    assert.ok((greedy?.held ?? 0) / all < 0.3, "the greedy tenant holds more than others leave it");
  });
});

test("a fair share is what one wants, or as much as anybody gets who wants more", () => {
  assert.deepEqual(waterFill([1, 10, 10], 9), [1, 4, 4]);
  assert.deepEqual(waterFill([1, 2], 9), [1, 2]);
});
