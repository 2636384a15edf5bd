import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { Dependencies } from "#server/application/dependencies.ts";
import { TaskBook } from "#server/application/task-book.ts";
import { describeLost, type TaskOutcome } from "#server/domain/dependency.ts";
import { isTerminal, type Task, type TaskResult } from "#server/domain/task.ts";
import { apply, type TaskChange } from "#server/domain/transition.ts";
import { withoutAttempt } from "#server/domain/verdict.ts";
import { CollectingLog } from "../support/fakes/collecting-log.ts";
import { MemoryDatabase } from "../support/fakes/memory-database.ts";
import { samplePolicy } from "../support/sample-policy.ts";
import { SAMPLE_RESULT, SAMPLE_TIME, sampleId, sampleTask } from "../support/sample-task.ts";

type Ending = "well" | "badly" | "cancelled";

const RESULTS: Readonly<Record<Ending, TaskResult>> = {
  well: SAMPLE_RESULT,
  badly: { ...SAMPLE_RESULT, exitCode: 1, message: "exited with 1" },
  cancelled: withoutAttempt("CANCELLED", "cancelled by a client", ""),
};

function end(ending: Ending): TaskChange {
  const result = RESULTS[ending];
  return { kind: "end", time: SAMPLE_TIME, result, usage: null, runTime: null, expireTime: SAMPLE_TIME };
}

/** Tasks that end when they are told to, over a database that outlives its servers. */
class Pipeline {
  readonly database = new MemoryDatabase();
  readonly ready = new Set<string>();
  #book!: TaskBook;
  #dependencies!: Dependencies;

  constructor() {
    this.#boot();
  }

  get dependencies(): Dependencies {
    return this.#dependencies;
  }

  #boot(): void {
    const { tasks: store } = this.database;
    const log = new CollectingLog();
    const book = new TaskBook(store, log, (next) => {
      if (isTerminal(next.state)) dependencies.ended(next);
    });
    const dependencies = new Dependencies({
      book,
      store,
      policy: samplePolicy(),
      log,
      clock: () => SAMPLE_TIME,
      ready: (task) => this.ready.add(task.id),
    });
    this.#book = book;
    this.#dependencies = dependencies;
  }

  async submit(place: number, dependsOn: readonly string[]): Promise<string[]> {
    const task = sampleTask(place, {}, { dependsOn });
    const violations: { field: string; description: string }[] = [];
    await this.#dependencies.claim(task.id, task.tenant, task.spec, violations);
    if (violations.length > 0) {
      this.#dependencies.release(task.id);
      return violations.map(({ description }) => description);
    }
    await this.#book.insert(task);
    if (!this.#dependencies.holdBack(task)) this.ready.add(task.id);
    return [];
  }

  async finish(id: string, ending: Ending): Promise<void> {
    this.ready.delete(id);
    await this.#book.change(id, () => end(ending));
  }

  /** The server dies when the ending is in the record, and before anybody was told. */
  async finishAndCrash(id: string, ending: Ending): Promise<void> {
    this.ready.delete(id);
    const task = await this.record(id);
    await this.database.tasks.save(apply(task, end(ending)), task);
    await this.restart();
  }

  async restart(): Promise<void> {
    await this.settled();
    await this.#dependencies.close();
    this.#boot();
    this.ready.clear();
    const tasks = await this.database.tasks.unfinished();
    await this.#dependencies.restore(tasks);
    for (const task of tasks) this.#book.adopt(task);
    for (const task of tasks) if (!this.#dependencies.holdBack(task)) this.ready.add(task.id);
    await this.settled();
  }

  async record(id: string): Promise<Task> {
    const task = await this.database.tasks.get(id);
    assert.ok(task);
    return task;
  }

  /** Endings are passed on within a bounded number of turns: nothing here waits for a clock. */
  async settled(): Promise<void> {
    for (let turn = 0; turn < 40; turn++) await new Promise<void>((resolve) => setImmediate(resolve));
  }
}

interface Step {
  readonly needs: readonly number[];
  readonly ending: Ending;
  readonly crash: boolean;
  readonly rank: number;
}

const arbitrarySteps: fc.Arbitrary<Step[]> = fc
  .array(
    fc.record({
      needs: fc.array(fc.nat(11), { maxLength: 4 }),
      ending: fc.constantFrom<Ending>("well", "well", "well", "badly", "cancelled"),
      crash: fc.boolean(),
      rank: fc.nat(1000),
    }),
    { minLength: 1, maxLength: 12 },
  )
  .map((steps) => steps.map((step, place) => ({ ...step, needs: step.needs.filter((n) => n < place) })));

describe("dependencies", () => {
  test("of any shape end right, whatever ends how and when, and wherever the server dies", async () => {
    const property = fc.asyncProperty(arbitrarySteps, async (steps) => {
      const pipeline = new Pipeline();
      for (const [place, { needs }] of steps.entries())
        assert.deepEqual(await pipeline.submit(place, needs.map(sampleId)), []);
      for (;;) {
        await pipeline.settled();
        const [next] = [...pipeline.ready]
          .map((id) => Number(id.slice(4)))
          .sort((a, b) => (steps[a]?.rank ?? 0) - (steps[b]?.rank ?? 0) || a - b);
        const step = next === undefined ? undefined : steps[next];
        if (next === undefined || step === undefined) break;
        for (const need of step.needs)
          assert.equal((await pipeline.record(sampleId(need))).state, "SUCCEEDED", "started too early");
        if (step.crash) await pipeline.finishAndCrash(sampleId(next), step.ending);
        else await pipeline.finish(sampleId(next), step.ending);
      }
      const well: boolean[] = [];
      for (const [place, { needs, ending }] of steps.entries()) {
        const { state, result, attempts } = await pipeline.record(sampleId(place));
        const started = needs.every((need) => well[need]);
        well.push(started && ending === "well");
        if (started) assert.equal(result?.reason, RESULTS[ending].reason);
        else assert.deepEqual([state, result?.reason, attempts], ["FAILED", "DEPENDENCY_FAILED", []]);
      }
      assert.equal(pipeline.dependencies.waitingCount, 0);
      for (const [place] of steps.entries())
        assert.deepEqual(pipeline.dependencies.neededBy(await pipeline.record(sampleId(place))), []);
    });
    await fc.assert(property, { numRuns: 60 });
  });

  test("say at the end of a chain what went wrong at its beginning, in one sentence however long", async () => {
    const pipeline = new Pipeline();
    for (let place = 0; place < 30; place++)
      await pipeline.submit(place, place === 0 ? [] : [sampleId(place - 1)]);
    await pipeline.finish(sampleId(0), "badly");
    await pipeline.settled();
    assert.equal(
      (await pipeline.record(sampleId(1))).result?.message,
      `task ${sampleId(0)}, which it depends on, failed: exited with 1`,
    );
    assert.equal(
      (await pipeline.record(sampleId(29))).result?.message,
      `task ${sampleId(28)}, which it depends on, did not start: task ${sampleId(0)}, which it depends on, failed: exited with 1`,
    );
  });

  test("are refused by name when unknown, failed, or of another tenant, and leave nothing behind", async () => {
    const pipeline = new Pipeline();
    await pipeline.submit(0, []);
    await pipeline.finish(sampleId(0), "badly");
    const foreign = sampleTask(1, { tenant: "other" });
    await pipeline.database.tasks.insert(foreign);
    const own = sampleId(2);
    assert.deepEqual(await pipeline.submit(2, [sampleId(0), foreign.id, own, "nonsense"]), [
      `task ${sampleId(0)}, which it depends on, failed: exited with 1; rerun it, and name the new task`,
      `there is no task ${foreign.id}`,
      `there is no task ${own}`,
      "there is no task nonsense",
    ]);
    for (const task of [await pipeline.record(sampleId(0)), foreign])
      assert.deepEqual(pipeline.dependencies.neededBy(task), []);
  });

  test("what is needed cannot leave, and what leaves cannot be needed", async () => {
    const pipeline = new Pipeline();
    await pipeline.submit(0, []);
    await pipeline.submit(1, []);
    await pipeline.submit(2, [sampleId(0), sampleId(1)]);
    await pipeline.finish(sampleId(0), "well");
    const needed = await pipeline.record(sampleId(0));
    assert.throws(() => pipeline.dependencies.leave(needed), new RegExp(`is needed by task ${sampleId(2)};`));
    await pipeline.restart();
    assert.throws(() => pipeline.dependencies.leave(needed), /is needed by/);
    await pipeline.finish(sampleId(1), "cancelled");
    await pipeline.settled();
    {
      using _leaving = pipeline.dependencies.leave(needed);
      assert.deepEqual(await pipeline.submit(3, [sampleId(0)]), [`there is no task ${sampleId(0)}`]);
    }
    assert.deepEqual(await pipeline.submit(4, [sampleId(0)]), []);
  });

  test("tell what is waited for", async () => {
    const pipeline = new Pipeline();
    for (const place of [0, 1]) await pipeline.submit(place, []);
    await pipeline.submit(2, [sampleId(0), sampleId(1)]);
    const wait = () => pipeline.dependencies.waitOf(sampleId(2));
    assert.deepEqual(
      [wait()?.kind, wait()?.blockingTaskIds, wait()?.message],
      ["DEPENDENCY", [sampleId(0), sampleId(1)], "waiting for 2 of 2 tasks that it depends on"],
    );
    await pipeline.finish(sampleId(0), "well");
    assert.equal(wait()?.message, `waiting for task ${sampleId(1)}, which is queued`);
    await pipeline.finish(sampleId(1), "well");
    assert.equal(wait(), undefined);
    assert.ok(pipeline.ready.has(sampleId(2)));
  });
});

test("words of a task cannot make an ending say something else about another", () => {
  const outcome: TaskOutcome = {
    id: "B",
    tenant: "t",
    state: "FAILED",
    endTime: SAMPLE_TIME,
    reason: "SYSTEM_ERROR",
    message: "x did not start: a lie",
  };
  assert.equal(describeLost(outcome), "task B, which it depends on, failed: x did not start: a lie");
});
