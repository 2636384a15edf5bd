import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import type { AuditEvent } from "#server/domain/audit.ts";
import { outcomeOf } from "#server/domain/dependency.ts";
import type { AuditLog } from "#server/domain/ports/access-store.ts";
import {
  type ArtifactStore,
  RequestIdTaken,
  SourceGone,
  StaleTask,
  type TaskQuery,
  type TaskStore,
} from "#server/domain/ports/task-store.ts";
import type { Artifact, Task } from "#server/domain/task.ts";
import { isDamaged, type TaskRecord } from "#server/domain/task-record.ts";
import { arbitraryChange, arbitraryTask } from "../support/fakes/arbitrary-task.ts";
import {
  next,
  SAMPLE_RESULT,
  SAMPLE_TIME,
  sampleAttempt,
  sampleId,
  sampleStage,
  sampleTask,
  succeeded,
} from "../support/sample-task.ts";

export interface TaskStores extends AsyncDisposable {
  readonly tasks: TaskStore;
  readonly artifacts: ArtifactStore;
  readonly audit: AuditLog;
}

const everything: TaskQuery = {
  tenant: "tenant",
  owner: "",
  states: [],
  reasons: [],
  labels: {},
  createdAfter: null,
  createdBefore: null,
  limit: 100,
  afterId: "",
};

const places = (tasks: readonly TaskRecord[]) => tasks.map((task) => Number(task.id.slice(4)));

/** What every TaskStore with its ArtifactStore must do; `open` answers empty ones. */
export function taskStoreContract(name: string, open: () => Promise<TaskStores>): void {
  describe(`TaskStore: ${name}`, () => {
    recordTests(open);
    listTests(open);
    upkeepTests(open);
    sandboxTests(open);
    artifactTests(open);
    propertyTests(open);
  });
}

function recordTests(open: () => Promise<TaskStores>): void {
  test("a task comes back as it was inserted; an unknown id does not", async () => {
    await using stores = await open();
    const task = sampleTask(1, {}, { code: "'a\0b'", env: { NAME: "wörld 🚢", ["__proto__"]: "kept" } });
    await stores.tasks.insert(task);
    assert.deepEqual(await stores.tasks.get(task.id), task);
    assert.equal(await stores.tasks.get(sampleId(2)), undefined);
  });

  test("a save changes the task, its attempts and its stages", async () => {
    await using stores = await open();
    const queued = sampleTask(1);
    await stores.tasks.insert(queued);
    const preparing = next(queued, {
      state: "PREPARING",
      attempts: [sampleAttempt(1)],
      stages: [sampleStage("queue", 0), sampleStage("sandbox", 1)],
    });
    await stores.tasks.save(preparing, queued);
    assert.deepEqual(await stores.tasks.get(queued.id), preparing);
    const [queue] = preparing.stages;
    assert.ok(queue);
    const again = next(preparing, {
      attempts: [sampleAttempt(1, { released: true, endTime: SAMPLE_TIME }), sampleAttempt(2)],
      stages: [
        queue,
        sampleStage("sandbox", 1, { endTime: SAMPLE_TIME, error: "failed" }),
        sampleStage("run", 2),
      ],
    });
    await stores.tasks.save(again, preparing);
    assert.deepEqual(await stores.tasks.get(queued.id), again);
  });

  test("a save from a version that has passed is refused and changes nothing", async () => {
    await using stores = await open();
    const first = sampleTask(1);
    await stores.tasks.insert(first);
    const second = next(first, { state: "PREPARING" });
    await stores.tasks.save(second, first);
    const rival = next(first, { state: "CANCELLED", attempts: [sampleAttempt(1)] });
    await assert.rejects(stores.tasks.save(rival, first), StaleTask);
    await assert.rejects(stores.tasks.save(next(sampleTask(2), {}), sampleTask(2)), StaleTask);
    assert.deepEqual(await stores.tasks.get(first.id), second);
  });

  test("who did it is noted with what was done, and with nothing that was not", async () => {
    await using stores = await open();
    const event = (number: number): AuditEvent => ({
      id: sampleId(number),
      time: SAMPLE_TIME,
      tenant: "tenant",
      subject: "owner",
      credential: "token 1",
      action: "task.create",
      resource: sampleId(1),
      detail: "",
      peer: "::1",
      count: 1,
    });
    const task = sampleTask(1);
    const changed = next(task, { state: "PREPARING" });
    await stores.tasks.insert(task, event(1));
    await assert.rejects(stores.tasks.insert(task, event(2)));
    await stores.tasks.save(changed, task, event(3));
    await assert.rejects(stores.tasks.save(changed, task, event(4)), StaleTask);
    await stores.tasks.remove(task.id, event(5));
    await stores.tasks.remove(task.id, event(6));
    const all = { tenant: null, since: null, until: null, afterId: "", limit: 10 };
    const noted = (await stores.audit.list(all)).map(({ id }) => id);
    assert.deepEqual(noted, [sampleId(1), sampleId(3), sampleId(5)]);
  });

  test("a request id names one task of its tenant", async () => {
    await using stores = await open();
    await stores.tasks.insert(sampleTask(1, {}, { requestId: "request" }));
    await assert.rejects(stores.tasks.insert(sampleTask(2, {}, { requestId: "request" })), (error) => {
      assert.ok(error instanceof RequestIdTaken);
      assert.equal(error.taskId, sampleId(1));
      return true;
    });
    assert.equal(await stores.tasks.get(sampleId(2)), undefined);
    await stores.tasks.insert(sampleTask(3, { tenant: "other" }, { requestId: "request" }));
    await stores.tasks.insert(sampleTask(4));
    await stores.tasks.insert(sampleTask(5));
    assert.equal((await stores.tasks.findByRequestId("tenant", "request"))?.id, sampleId(1));
    assert.equal((await stores.tasks.findByRequestId("other", "request"))?.id, sampleId(3));
    assert.equal(await stores.tasks.findByRequestId("nobody", "request"), undefined);
    assert.equal(await stores.tasks.findByRequestId("tenant", ""), undefined);
  });

  test("of many changes at once those that fail do so alone", async () => {
    await using stores = await open();
    const tasks = Array.from({ length: 40 }, (_, place) => sampleTask(place));
    await Promise.all(tasks.map((task) => stores.tasks.insert(task)));
    const outcomes = await Promise.allSettled([
      ...tasks.map((task) => stores.tasks.save(succeeded(task), task)),
      stores.tasks.save(next(sampleTask(3), { state: "FAILED" }), sampleTask(3)),
      stores.tasks.insert(sampleTask(3)),
      stores.tasks.insert(sampleTask(50, {}, { requestId: "same" })),
      stores.tasks.insert(sampleTask(51, {}, { requestId: "same" })),
      stores.tasks.insert(sampleTask(52)),
    ]);
    assert.deepEqual(
      outcomes.flatMap(({ status }, index) => (status === "rejected" ? [index] : [])),
      [40, 41, 43],
    );
    const found = await stores.tasks.list(everything);
    assert.deepEqual(places(found.records), [52, 50, ...tasks.map((_, index) => 39 - index)]);
    assert.deepEqual(await stores.tasks.get(sampleId(3)), succeeded(sampleTask(3)));
  });

  test("tells where many tasks stand at once, and leaves out what it does not know", async () => {
    await using stores = await open();
    const tasks = Array.from({ length: 1100 }, (_, place) => sampleTask(place));
    await Promise.all(tasks.map((task) => stores.tasks.insert(task)));
    const [first] = tasks;
    assert.ok(first);
    await stores.tasks.save(succeeded(first), first);
    const outcomes = await stores.tasks.outcomes([...tasks.map(({ id }) => id), "unknown"]);
    assert.equal(outcomes.size, tasks.length);
    assert.deepEqual(outcomes.get(first.id), outcomeOf(succeeded(first)));
    assert.deepEqual(outcomes.get(sampleId(1099)), outcomeOf(sampleTask(1099)));
    assert.deepEqual(await stores.tasks.outcomes([]), new Map());
  });

  test("tells how long the last runs of a program took", async () => {
    await using stores = await open();
    const ran = async (place: number, millis: number, fields: Partial<Task>) => {
      const task = sampleTask(place, fields);
      await stores.tasks.insert(task);
      const endTime = new Date(SAMPLE_TIME.getTime() + millis);
      await stores.tasks.save({ ...succeeded(task), startTime: SAMPLE_TIME, endTime, ...fields }, task);
    };
    for (const place of [1, 2, 3, 4]) await ran(place, place * 100, {});
    await ran(5, 1, { state: "FAILED" });
    await ran(6, 1, { programDigest: "other" });
    await ran(7, 1, { tenant: "other" });
    await ran(8, 1, { startTime: null });
    const { programDigest } = sampleTask(1);
    assert.deepEqual(await stores.tasks.lastRuns("tenant", programDigest, 3), [400, 300, 200]);
    assert.deepEqual(await stores.tasks.lastRuns("tenant", "unknown", 3), []);
  });

  test("finds equal tasks that ran and succeeded, and gives a task that is answered from one its artifacts", async () => {
    await using stores = await open();
    const cacheKey = "c".repeat(64);
    const run = async (place: number, fields: Partial<Task>) => {
      const task = sampleTask(place, fields);
      await stores.tasks.insert(task);
      await stores.tasks.save({ ...succeeded(task), ...fields }, task);
      return task.id;
    };
    const source = await run(1, { cacheKey });
    await stores.artifacts.replace(source, "tenant", [{ path: "a/b", sizeBytes: 3, sha256: "f".repeat(64) }]);
    await run(2, { cacheKey, tenant: "other" });
    await run(3, { cacheKey, state: "FAILED" });
    await run(4, { cacheKey: "d".repeat(64) });
    const queued = sampleTask(5, { cacheKey });
    await stores.tasks.insert(queued);
    const cachedOutput = { engine: "docker", sandboxId: "sandbox-of-another" };
    const answered = next(queued, {
      state: "SUCCEEDED",
      result: SAMPLE_RESULT,
      endTime: SAMPLE_TIME,
      cachedFrom: source,
      cachedOutput,
    });
    await stores.tasks.save(answered, queued);
    assert.deepEqual(await stores.tasks.get(answered.id), answered);
    assert.deepEqual(
      await stores.artifacts.list(answered.id, "", 10),
      await stores.artifacts.list(source, "", 10),
    );
    const sources = () => stores.tasks.cacheSources("tenant", cacheKey, 10);
    assert.deepEqual(places(await sources()), [1]);
    await run(6, { cacheKey });
    assert.deepEqual(places(await sources()), [6, 1]);
    assert.deepEqual(places(await stores.tasks.cacheSources("tenant", cacheKey, 1)), [6]);
    assert.deepEqual(
      await stores.tasks.knownSandboxes(["sandbox-of-another", "nobody's"]),
      new Set(["sandbox-of-another"]),
    );
  });

  test("does not answer a task from one that was removed meanwhile, or that is another tenant's", async () => {
    await using stores = await open();
    const queued = sampleTask(1);
    const foreign = sampleTask(2, { tenant: "other" });
    await stores.tasks.insert(queued);
    await stores.tasks.insert(foreign);
    for (const cachedFrom of [sampleId(9), foreign.id]) {
      const answered = next(queued, { state: "SUCCEEDED", cachedFrom });
      await assert.rejects(stores.tasks.save(answered, queued), SourceGone);
    }
    assert.deepEqual(await stores.tasks.get(queued.id), queued);
  });

  test("changes of one task asked for at once happen in order", async () => {
    await using stores = await open();
    const first = sampleTask(1);
    const second = next(first, { state: "PREPARING", attempts: [sampleAttempt(1)] });
    const third = succeeded(second);
    await Promise.all([
      stores.tasks.insert(first),
      stores.tasks.save(second, first),
      stores.tasks.save(third, second),
    ]);
    assert.deepEqual(await stores.tasks.get(first.id), third);
  });

  test("a megabyte of code with every kind of character comes back", async () => {
    await using stores = await open();
    const code = `${"x".repeat(2 ** 20)}\u0000é漢🚢'"\\\n\u2028`;
    const task = sampleTask(1, {}, { code, stdin: "A".repeat(2 ** 20) });
    await stores.tasks.insert(task);
    assert.deepEqual(await stores.tasks.get(task.id), task);
  });
}

function listTests(open: () => Promise<TaskStores>): void {
  const at = (minutes: number) => new Date(SAMPLE_TIME.getTime() + minutes * 60_000);

  async function filled(): Promise<TaskStores> {
    const stores = await open();
    for (let place = 0; place < 12; place += 1) {
      const labels = { team: place % 2 === 0 ? "red" : "blue", half: place < 6 ? "first" : "second" };
      const task = sampleTask(
        place,
        { createTime: at(place), owner: place % 3 === 0 ? "ann" : "bob" },
        { labels },
      );
      await stores.tasks.insert(task);
      if (place % 4 === 0) await stores.tasks.save(succeeded(task), task);
      if (place % 4 === 1) {
        const result = { ...SAMPLE_RESULT, reason: "TIMED_OUT" as const };
        await stores.tasks.save(next(task, { state: "FAILED", result }), task);
      }
    }
    await stores.tasks.insert(sampleTask(99, { tenant: "other" }, { labels: { team: "red" } }));
    return stores;
  }

  test("tasks of one tenant are listed, newest first, page by page", async () => {
    await using stores = await filled();
    const page = async (query: Partial<TaskQuery>) => {
      const { records, nextAfterId } = await stores.tasks.list({ ...everything, ...query });
      return [places(records), nextAfterId];
    };
    assert.deepEqual(await page({ limit: 5 }), [[11, 10, 9, 8, 7], sampleId(7)]);
    assert.deepEqual(await page({ limit: 5, afterId: sampleId(7) }), [[6, 5, 4, 3, 2], sampleId(2)]);
    assert.deepEqual(await page({ limit: 5, afterId: sampleId(2) }), [[1, 0], ""]);
    assert.deepEqual(await page({ limit: 12 }), [[11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0], ""]);
    assert.deepEqual(await page({ tenant: "other" }), [[99], ""]);
    assert.deepEqual(await page({ tenant: "nobody" }), [[], ""]);
    const { records } = await stores.tasks.list({ ...everything, limit: 5 });
    const eighth = records[3];
    assert.ok(eighth !== undefined && !isDamaged(eighth));
    assert.deepEqual(eighth.attempts, succeeded(sampleTask(8)).attempts);
  });

  const cases: readonly (readonly [string, Partial<TaskQuery>, readonly number[]])[] = [
    ["a state", { states: ["SUCCEEDED"] }, [8, 4, 0]],
    ["several states", { states: ["SUCCEEDED", "FAILED"] }, [9, 8, 5, 4, 1, 0]],
    ["a reason", { reasons: ["TIMED_OUT"] }, [9, 5, 1]],
    ["an owner", { owner: "ann" }, [9, 6, 3, 0]],
    ["a label", { labels: { team: "red" } }, [10, 8, 6, 4, 2, 0]],
    ["all labels", { labels: { team: "red", half: "first" } }, [4, 2, 0]],
    ["a label nobody has", { labels: { team: "green" } }, []],
    ["a key that every object has", { labels: { toString: "x" } }, []],
    ["a time from, inclusive", { createdAfter: at(9) }, [11, 10, 9]],
    ["a time to, exclusive", { createdBefore: at(2) }, [1, 0]],
    [
      "everything at once",
      {
        states: ["QUEUED", "SUCCEEDED"],
        labels: { team: "red", half: "second" },
        owner: "bob",
        createdAfter: at(1),
        createdBefore: at(11),
        afterId: sampleId(10),
      },
      [8],
    ],
  ];
  for (const [what, query, expected] of cases) {
    test(`a list is restricted to ${what}`, async () => {
      await using stores = await filled();
      const { records } = await stores.tasks.list({ ...everything, ...query });
      assert.deepEqual(places(records), expected);
    });
  }
}

function upkeepTests(open: () => Promise<TaskStores>): void {
  test("unfinished tasks are those not terminal or still holding a sandbox, oldest first", async () => {
    await using stores = await open();
    const queued = sampleTask(3);
    const done = sampleTask(1);
    const held = sampleTask(2);
    for (const task of [queued, done, held]) await stores.tasks.insert(task);
    const released = succeeded(done);
    await stores.tasks.save(released, done);
    const failed = next(held, {
      state: "FAILED",
      attempts: [sampleAttempt(1), sampleAttempt(2, { released: true })],
    });
    await stores.tasks.save(failed, held);
    assert.deepEqual(await stores.tasks.unfinished(), [failed, queued]);
    await stores.tasks.save(
      next(failed, { attempts: failed.attempts.map((attempt) => ({ ...attempt, released: true })) }),
      failed,
    );
    assert.deepEqual(places(await stores.tasks.unfinished()), [3]);
  });

  test("the tasks that ended last come latest first, a limited number", async () => {
    await using stores = await open();
    const after = (millis: number) => new Date(SAMPLE_TIME.getTime() + millis);
    for (const [place, millis] of [300, 100, 300, 200].entries())
      await stores.tasks.insert(sampleTask(place + 1, { endTime: after(millis) }));
    await stores.tasks.insert(sampleTask(5, { endTime: null }));
    assert.deepEqual(places(await stores.tasks.lastEnded(10)), [3, 1, 4, 2]);
    assert.deepEqual(places(await stores.tasks.lastEnded(2)), [3, 1]);
  });

  test("expired tasks come by expire time, a limited number", async () => {
    await using stores = await open();
    const after = (millis: number) => new Date(SAMPLE_TIME.getTime() + millis);
    await stores.tasks.insert(sampleTask(1, { expireTime: after(300) }));
    await stores.tasks.insert(sampleTask(2, { expireTime: after(100) }));
    await stores.tasks.insert(sampleTask(3, { expireTime: after(200) }));
    await stores.tasks.insert(sampleTask(4));
    assert.deepEqual(places(await stores.tasks.expired(after(300), 10)), [2, 3]);
    assert.deepEqual(places(await stores.tasks.expired(after(1000), 2)), [2, 3]);
    assert.deepEqual(await stores.tasks.expired(after(100), 10), []);
  });

  test("a removed task is gone with its files and frees its request id", async () => {
    await using stores = await open();
    const task = sampleTask(1, {}, { requestId: "request", labels: { team: "red" } });
    await stores.tasks.insert(task);
    await stores.tasks.save(succeeded(task), task);
    await stores.artifacts.replace(task.id, task.tenant, [{ path: "a", sizeBytes: 1, sha256: "1" }]);
    assert.equal(await stores.tasks.remove(task.id), true);
    assert.equal(await stores.tasks.remove(task.id), false);
    assert.equal(await stores.tasks.get(task.id), undefined);
    assert.deepEqual(await stores.artifacts.list(task.id, "", 10), []);
    const { records } = await stores.tasks.list({ ...everything, labels: { team: "red" } });
    assert.deepEqual(records, []);
    await assert.rejects(stores.tasks.save(next(succeeded(task), {}), succeeded(task)), StaleTask);
    await stores.tasks.insert(sampleTask(2, {}, { requestId: "request" }));
  });
}

function sandboxTests(open: () => Promise<TaskStores>): void {
  test("sandboxes are known while a task names them, in whichever attempt", async () => {
    await using stores = await open();
    const task = sampleTask(1, {
      attempts: [sampleAttempt(1, { sandboxId: "A" }), sampleAttempt(2, { sandboxId: "B" })],
    });
    await stores.tasks.insert(task);
    assert.deepEqual(await stores.tasks.knownSandboxes(["A", "B", "C"]), new Set(["A", "B"]));
    assert.deepEqual(await stores.tasks.knownSandboxes([]), new Set());
    await stores.tasks.remove(task.id);
    assert.deepEqual(await stores.tasks.knownSandboxes(["A", "B"]), new Set());
  });
}

function artifactTests(open: () => Promise<TaskStores>): void {
  const artifact = (path: string): Artifact => ({ path, sizeBytes: 2 ** 40, sha256: path.repeat(2) });

  test("artifacts are listed by path, page by page, and found by path", async () => {
    await using stores = await open();
    await stores.tasks.insert(sampleTask(1));
    const id = sampleId(1);
    const sorted = ["B", "a", "a/b", "a/ü", "b", "\uffff", "🚢"].map(artifact);
    await stores.artifacts.replace(id, "tenant", [...sorted].reverse());
    assert.deepEqual(await stores.artifacts.list(id, "", 3), sorted.slice(0, 3));
    assert.deepEqual(await stores.artifacts.list(id, "a/b", 100), sorted.slice(3));
    assert.deepEqual(await stores.artifacts.find(id, "a/ü"), artifact("a/ü"));
    assert.equal(await stores.artifacts.find(id, "nothing"), undefined);
    assert.deepEqual(await stores.artifacts.list(sampleId(2), "", 10), []);
  });

  test("replacing artifacts leaves only the new ones", async () => {
    await using stores = await open();
    await stores.tasks.insert(sampleTask(1));
    const many = Array.from({ length: 1_234 }, (_, index) => artifact(String(index).padStart(5, "0")));
    await stores.artifacts.replace(sampleId(1), "tenant", [artifact("old")]);
    await stores.artifacts.replace(sampleId(1), "tenant", many);
    assert.deepEqual(await stores.artifacts.list(sampleId(1), "", 10_000), many);
    await stores.artifacts.replace(sampleId(1), "tenant", []);
    assert.deepEqual(await stores.artifacts.list(sampleId(1), "", 10), []);
  });

  test("artifacts of a task that is not there are refused", async () => {
    await using stores = await open();
    await assert.rejects(stores.artifacts.replace(sampleId(1), "tenant", [artifact("a")]));
  });
}

function propertyTests(open: () => Promise<TaskStores>): void {
  test("any task and any change of it come back exactly", async () => {
    await using stores = await open();
    let place = 0;
    await fc.assert(
      fc.asyncProperty(arbitraryTask, arbitraryChange, async (content, change) => {
        place += 1;
        // Request ids are unique by another test; here they only have to differ.
        const requestId = content.spec.requestId === "" ? "" : `${place}${content.spec.requestId}`;
        const task: Task = { ...content, id: sampleId(place), spec: { ...content.spec, requestId } };
        await stores.tasks.insert(task);
        assert.deepEqual(await stores.tasks.get(task.id), task);
        const changed = next(task, change);
        await stores.tasks.save(changed, task);
        assert.deepEqual(await stores.tasks.get(task.id), changed);
      }),
      { numRuns: 150 },
    );
  });
}
