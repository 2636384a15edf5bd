import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { SystemFault, Unavailable } from "#server/domain/errors.ts";
import type { TaskStore } from "#server/domain/ports/task-store.ts";
import type { Task } from "#server/domain/task.ts";
import { ApplicationBench } from "../support/application-bench.ts";

const HELLO = { code: "print('hello')" };
const WAITING = { code: "import time; time.sleep(3600)", timeoutMillis: 3_600_000 };
const away = () => new Unavailable("the engine is away");

const reasonsOf = (task: Task) => task.attempts.map(({ result }) => result?.reason);
const runsOf = (task: Task) => task.stages.filter(({ name }) => name === "run").length;
const isRunning = (task: Task) => task.state === "RUNNING";
const lastSandbox = (task: Task) => task.attempts.at(-1)?.sandboxId ?? "";

/** A store whose next saves fail as a full disk or a locked database makes them fail. */
function failingStore(inner: TaskStore): {
  store: TaskStore;
  failSaves: (times: number, afterCommit?: boolean) => void;
} {
  let failures = 0;
  let afterCommit = false;
  const store: TaskStore = {
    insert: (task) => inner.insert(task),
    save: async (next, previous) => {
      if (failures === 0) return inner.save(next, previous);
      failures--;
      if (afterCommit) await inner.save(next, previous);
      throw new Unavailable("the database is locked");
    },
    get: (id) => inner.get(id),
    findByRequestId: (tenant, requestId) => inner.findByRequestId(tenant, requestId),
    list: (query) => inner.list(query),
    unfinished: () => inner.unfinished(),
    lastEnded: (limit) => inner.lastEnded(limit),
    outcomes: (ids) => inner.outcomes(ids),
    cacheSources: (tenant, key, limit) => inner.cacheSources(tenant, key, limit),
    lastRuns: (tenant, program, limit) => inner.lastRuns(tenant, program, limit),
    knownSandboxes: (ids) => inner.knownSandboxes(ids),
    remove: (id) => inner.remove(id),
    expired: (time, limit) => inner.expired(time, limit),
  };
  return {
    store,
    failSaves: (times, after = false) => {
      failures = times;
      afterCommit = after;
    },
  };
}

describe("attempts under faults", () => {
  test("a start that the engine could not make costs no try", async () => {
    await using bench = await ApplicationBench.open();
    bench.engine.failNext("create", away());
    bench.engine.failNext("create", new SystemFault("no container"));
    const { id } = await bench.create(HELLO);
    const task = await bench.finished(id);
    assert.equal(task.state, "SUCCEEDED");
    assert.deepEqual(reasonsOf(task), ["LOST", "SYSTEM_ERROR", "EXITED"]);
    assert.equal(runsOf(task), 1);
    assert.deepEqual(
      task.attempts.slice(0, 2).map(({ usage }) => usage?.chargedMillis),
      [0, 0],
    );
  });

  test("a queued task says that its engine is being waited for", async () => {
    await using bench = await ApplicationBench.open();
    bench.engine.failNext("create", away());
    const { id } = await bench.create(HELLO);
    const waiting = await bench.until(id, (task) => task.wait?.kind === "ENGINE");
    assert.match(waiting.wait?.message ?? "", /the engine is away/);
    assert.equal((await bench.finished(id)).state, "SUCCEEDED");
  });

  test("a sandbox that vanished is lost with one try, and replaced with two; neither is charged", async () => {
    await using bench = await ApplicationBench.open();
    for (const maxAttempts of [1, 2]) {
      const { id } = await bench.create({ ...WAITING, maxAttempts });
      await bench.engine.vanish(lastSandbox(await bench.until(id, isRunning)));
      if (maxAttempts === 2) {
        const again = await bench.until(id, (task) => task.attempts.length === 2 && isRunning(task));
        await bench.engine.vanish(lastSandbox(again));
      }
      const task = await bench.finished(id);
      assert.equal(task.state, "FAILED");
      assert.deepEqual(reasonsOf(task), Array(maxAttempts).fill("LOST"));
      for (const { usage } of task.attempts) assert.equal(usage?.chargedMillis, 0);
    }
    assert.deepEqual(await bench.engine.list(), []);
  });

  test("a sandbox that never comes up is given up on, and holds up no other task meanwhile", async () => {
    await using bench = await ApplicationBench.open();
    for (let n = 0; n < 10; n++) bench.engine.failNext("create", new SystemFault("no such program"));
    const { id } = await bench.create(HELLO);
    const task = await bench.finished(id);
    assert.deepEqual(new Set(reasonsOf(task)), new Set(["SYSTEM_ERROR"]));
    assert.equal(task.result?.reason, "SYSTEM_ERROR");
    assert.equal(
      bench.log.lines.some((line) => line.includes("starts nothing until it answers")),
      false,
    );
  });

  test("a failure of the user's code is never tried again", async () => {
    await using bench = await ApplicationBench.open();
    const { id } = await bench.create({ code: "raise SystemExit(3)", maxAttempts: 5 });
    const task = await bench.finished(id);
    assert.deepEqual(reasonsOf(task), ["EXITED"]);
    assert.equal(task.result?.exitCode, 3);
  });

  test("what happened while the database was away is recorded when it is back", async () => {
    await using bench = await ApplicationBench.open();
    await bench.stop();
    const { store, failSaves } = failingStore(bench.database.tasks);
    await bench.start({ store });
    const { id } = await bench.create(HELLO);
    failSaves(3);
    const task = await bench.finished(id);
    assert.equal(task.state, "SUCCEEDED");
    assert.equal(task.attempts.length, 1);
    assert.equal(runsOf(task), 1);
  });

  test("a commit that failed after it was made is not made twice", async () => {
    await using bench = await ApplicationBench.open();
    await bench.stop();
    const { store, failSaves } = failingStore(bench.database.tasks);
    await bench.start({ store });
    const { id } = await bench.create(HELLO);
    failSaves(1, true);
    const task = await bench.finished(id);
    assert.equal(task.state, "SUCCEEDED");
    assert.deepEqual(reasonsOf(task), ["EXITED"]);
  });

  test("a cleanup that failed is done again by the next comparison, here the next start's", async () => {
    await using bench = await ApplicationBench.open();
    bench.engine.failNext("release", new SystemFault("busy"));
    const { id } = await bench.create(HELLO);
    await bench.until(id, (task) => task.state === "SUCCEEDED");
    await bench.stop();
    await bench.start();
    const task = await bench.finished(id);
    assert.ok(task.stages.some(({ name }) => name === "cleanup"));
    assert.deepEqual(await bench.engine.list(), []);
    assert.equal((await bench.application.getReconcileReport()).releasedAttempts, 1);
  });

  test("a restart adopts what runs, keeps what waits and removes what no task names", async () => {
    await using bench = await ApplicationBench.open();
    const running = await bench.create({
      code: "import time; print('up', flush=True); time.sleep(1); print('end')",
    });
    const blocked = await bench.create({
      ...HELLO,
      resources: { cpu: "4", gpu: "", ram: "", storage: "", gpuModel: "" },
    });
    const before = await bench.until(running.id, isRunning);
    await bench.stop();
    const stray = { ...before.attempts[0], sandboxId: "01STRAYSANDBOX000000000000" };
    await bench.engine.create(
      {
        sandboxId: stray.sandboxId,
        taskId: "gone",
        attempt: 1,
        shape: {
          imageDigest: "",
          isolation: "CONTAINER",
          network: "NONE",
          limits: before.limits,
          gpuIds: [],
        },
      },
      new AbortController().signal,
    );
    await bench.start();
    const report = await bench.application.getReconcileReport();
    assert.deepEqual([report.adoptedAttempts, report.queuedTasks], [1, 1]);
    assert.deepEqual(
      report.removals.map(({ kind, name }) => [kind, name]),
      [
        ["SANDBOX", stray.sandboxId],
        ["FILES", stray.sandboxId],
      ],
    );
    const done = await bench.finished(running.id);
    assert.equal(done.result?.stdoutTail, "up\nend\n");
    assert.equal(done.attempts.length, 1);
    assert.equal((await bench.finished(blocked.id)).state, "SUCCEEDED");
    const left = new Set(await bench.engine.files.list());
    assert.equal(left.has(stray.sandboxId), false);
    assert.equal(left.size, 2);
  });
});
