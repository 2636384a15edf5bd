/** Equal tasks in any order of coming, ending, being cancelled, and of servers that die in between. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { CacheKeys } from "#server/application/cache-keys.ts";
import { EngineHosts } from "#server/application/engine-host.ts";
import { ResultCache } from "#server/application/result-cache.ts";
import { TaskBook } from "#server/application/task-book.ts";
import { NO_RESOURCES } from "#server/domain/capacity.ts";
import { CapacityLedger } from "#server/domain/capacity-ledger.ts";
import { isTerminal, type Task, type TaskResult } from "#server/domain/task.ts";
import { currentAttempt } from "#server/domain/transition.ts";
import { withoutAttempt } from "#server/domain/verdict.ts";
import { CollectingLog } from "../support/fakes/collecting-log.ts";
import { FAKE_IMAGE, FakeEngine } from "../support/fakes/fake-engine.ts";
import { MemoryBlobStore } from "../support/fakes/memory-blob-store.ts";
import { MemoryDatabase } from "../support/fakes/memory-database.ts";
import { samplePolicy } from "../support/sample-policy.ts";
import { SAMPLE_RESULT, SAMPLE_TIME, sampleAttempt, sampleId, sampleTask } from "../support/sample-task.ts";

const CANCELLED = withoutAttempt("CANCELLED", "cancelled by a client", "");
const FAILED = { ...SAMPLE_RESULT, exitCode: 1 };

/** A cache over a database that outlives it; tasks run as long as the test wants. */
class Counter {
  readonly database = new MemoryDatabase();
  readonly #engine = new FakeEngine();
  /** What has to run and was not started. */
  readonly #missed = new Set<string>();
  #book!: TaskBook;
  #cache!: ResultCache;
  #count = 0;

  static async open(): Promise<Counter> {
    const counter = new Counter();
    await counter.#boot();
    return counter;
  }

  get cache(): ResultCache {
    return this.#cache;
  }

  async #boot(): Promise<void> {
    const { tasks: store, artifacts } = this.database;
    const log = new CollectingLog();
    const engine = this.#engine;
    const ledger = new CapacityLedger(NO_RESOURCES, NO_RESOURCES);
    const book = new TaskBook(store, log, (next, previous) => {
      if (isTerminal(next.state) && !(previous !== undefined && isTerminal(previous.state)))
        cache.ended(next);
    });
    const cache = new ResultCache({
      ...{ book, store, artifacts, log },
      blobs: new MemoryBlobStore(),
      hosts: new EngineHosts([{ engine, capabilities: await engine.capabilities(), ledger }]),
      keys: new CacheKeys({
        artifacts,
        secretBox: {
          seal: (_, value) => value,
          open: (_, sealed) => sealed,
          fingerprint: (_, value) => value,
        },
      }),
      policy: samplePolicy(),
      clock: () => SAMPLE_TIME,
      environmentOf: () => "",
      miss: (task) => this.#missed.add(task.id),
    });
    this.#book = book;
    this.#cache = cache;
  }

  async submit(key: number, priority: number): Promise<void> {
    const cacheKey = String(key).repeat(64);
    const spec = { useResultCache: true, priority };
    const task = sampleTask(this.#count++, { cacheKey, image: FAKE_IMAGE }, spec);
    await this.#book.insert(task);
    await this.#cache.enter(task);
  }

  live(): Task[] {
    return this.#book.allLive().filter(({ state }) => !isTerminal(state));
  }

  /** Starts what has to run; it has all the room it wants. */
  async startAll(): Promise<void> {
    await this.settled();
    const { digest: imageDigest } = await this.#engine.resolveImage(FAKE_IMAGE);
    for (const id of this.#missed) {
      const attempt = sampleAttempt(1, { imageDigest, sandboxId: id });
      await this.#book.change(id, ({ state }) =>
        state === "QUEUED" ? { kind: "start", attempt } : undefined,
      );
    }
    this.#missed.clear();
  }

  async end(task: Task, result: TaskResult): Promise<void> {
    const change = { kind: "end", time: SAMPLE_TIME, result, usage: null, runTime: null } as const;
    await this.#book.change(task.id, () => ({ ...change, expireTime: SAMPLE_TIME }));
    if (currentAttempt(task) !== undefined)
      await this.#book.change(task.id, () => ({ kind: "release", attempt: 1 }));
  }

  async restart(): Promise<void> {
    await this.settled();
    await this.#cache.close();
    this.#missed.clear();
    await this.#boot();
    const tasks = await this.database.tasks.unfinished();
    for (const task of tasks) this.#book.adopt(task);
    for (const task of tasks) if (currentAttempt(task) !== undefined) this.#cache.adopt(task);
    for (const task of tasks) if (currentAttempt(task) === undefined) void this.#cache.enter(task);
    await this.settled();
  }

  async settled(): Promise<void> {
    for (let turn = 0; turn < 20; turn++) await new Promise<void>((resolve) => setImmediate(resolve));
  }

  async all(): Promise<Task[]> {
    const ids = Array.from({ length: this.#count }, (_, place) => sampleId(place));
    return (await Promise.all(ids.map((id) => this.database.tasks.get(id)))).flatMap((task) => task ?? []);
  }
}

type Step =
  | { readonly kind: "submit"; readonly key: number; readonly priority: number }
  | { readonly kind: "succeed" | "fail" | "cancel"; readonly which: number }
  | { readonly kind: "restart" };

const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    { weight: 4, arbitrary: fc.record({ kind: fc.constant("submit"), key: fc.nat(1), priority: fc.nat(1) }) },
    {
      weight: 3,
      arbitrary: fc.record({ kind: fc.constantFrom("succeed", "fail", "cancel"), which: fc.nat(20) }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("restart") }) },
  ),
  { maxLength: 30 },
);

async function take(counter: Counter, step: Step): Promise<void> {
  if (step.kind === "submit") return counter.submit(step.key, step.priority);
  if (step.kind === "restart") return counter.restart();
  const tasks = counter.live().filter((task) => step.kind === "cancel" || currentAttempt(task) !== undefined);
  const task = tasks[step.which % Math.max(1, tasks.length)];
  const results = { succeed: SAMPLE_RESULT, fail: FAILED, cancel: CANCELLED };
  if (task !== undefined) await counter.end(task, results[step.kind]);
}

test("equal tasks run one at a time, and all of them end, whatever happens", async () => {
  const property = fc.asyncProperty(steps, async (taken) => {
    const counter = await Counter.open();
    for (const step of taken) {
      await take(counter, step);
      await counter.startAll();
      const running = counter.live().filter((task) => currentAttempt(task) !== undefined);
      for (const key of ["0", "1"])
        for (const priority of [0, 1]) {
          const alike = running.filter(
            ({ cacheKey, spec }) => cacheKey[0] === key && spec.priority === priority,
          );
          // An urgent one may come after the first, and another urgent one then leads nobody; but the patient wait.
          assert.ok(priority === 1 || alike.length <= 1, `${alike.length} equal ones run`);
        }
      const waiting = counter.live().filter(({ id }) => counter.cache.has(id));
      assert.equal(counter.cache.waitingCount, waiting.length);
      assert.equal(counter.live().length, running.length + waiting.length, "somebody was forgotten");
      for (const { id } of waiting) assert.equal(counter.cache.waitOf(id)?.kind, "DEPENDENCY");
    }
    for (let left = counter.live(); left.length > 0; left = counter.live()) {
      const [task] = left.filter((each) => currentAttempt(each) !== undefined);
      assert.ok(task, "nobody runs that the others wait for");
      await counter.end(task, FAILED);
      await counter.startAll();
    }
    const all = await counter.all();
    for (const task of all.filter(({ cachedFrom }) => cachedFrom !== "")) {
      const source = all.find(({ id }) => id === task.cachedFrom);
      assert.deepEqual(
        [source?.state, source?.cacheKey, source?.cachedFrom],
        ["SUCCEEDED", task.cacheKey, ""],
      );
      assert.deepEqual([task.state, task.attempts.length], ["SUCCEEDED", 0]);
    }
    assert.equal(counter.cache.waitingCount, 0);
  });
  await fc.assert(property, { numRuns: 100 });
});
