import assert from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, test } from "node:test";
import { Task as WireTask } from "@longshore/proto/longshore/v1/task.ts";
import { type Database, openDatabase } from "#server/adapters/database/database.ts";
import { InvalidRequest, NotFound, RecordDamaged } from "#server/domain/errors.ts";
import type { Task } from "#server/domain/task.ts";
import { isDamaged } from "#server/domain/task-record.ts";
import { TaskMessages } from "#server/transport/task-messages.ts";
import { taskToProto } from "#server/transport/translate/task-to-proto.ts";
import { ApplicationBench, CALLER } from "../support/application-bench.ts";
import { sampleTask, succeeded } from "../support/sample-task.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";

const EVERY = {
  ...{ owner: "", states: [], reasons: [], labels: {}, createdAfter: null, createdBefore: null },
  ...{ pageSize: 50, pageToken: "", violations: [], fits: () => true },
};
/** The application over a fake engine, and a database in a file that can be changed beside it. */
class DamageBench implements AsyncDisposable {
  readonly bench: ApplicationBench;
  readonly database: Database;
  readonly tamper: (statement: string) => void;
  readonly #stack: AsyncDisposableStack;

  private constructor(
    bench: ApplicationBench,
    database: Database,
    path: string,
    stack: AsyncDisposableStack,
  ) {
    this.bench = bench;
    this.database = database;
    this.#stack = stack;
    this.tamper = (statement) => {
      using beside = new DatabaseSync(path);
      beside.exec(statement);
    };
  }

  static async open(): Promise<DamageBench> {
    await using stack = new AsyncDisposableStack();
    const folder = stack.use(await TemporaryFolder.create());
    const path = join(folder.path, "longshore.db");
    const database = stack.use(await openDatabase({ url: `sqlite://${path}` }));
    const bench = stack.use(await ApplicationBench.open(storesOf(database)));
    return new DamageBench(bench, database, path, stack.move());
  }

  async restart(): Promise<void> {
    await this.bench.stop();
    await this.bench.start(storesOf(this.database));
  }

  async ended(code: string): Promise<Task> {
    const { id } = await this.bench.create({ code });
    return await this.bench.until(id, ({ endTime }) => endTime !== null);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

function storesOf({ tasks, artifacts, blobs, ledger }: Database) {
  return { store: tasks, artifacts, index: blobs, ledger };
}

describe("a task whose record is damaged", () => {
  test("is listed as such, answers with advice, and can be deleted by its tenant", async () => {
    await using damage = await DamageBench.open();
    const [one, two] = [await damage.ended("print(1)"), await damage.ended("print(2)")];
    await damage.restart();
    damage.tamper(`update task_spec set spec = '{' where task_id = '${one.id}'`);
    const { tasks } = await damage.bench.application.listTasks(CALLER, EVERY);
    assert.deepEqual(
      tasks.map((task) => [task.id, isDamaged(task) && task.damage]),
      [
        [two.id, false],
        [one.id, "spec: is not JSON"],
      ],
    );
    const calls = damage.bench.application;
    await assert.rejects(calls.getTask(CALLER, one.id), (error) => {
      assert.ok(error instanceof RecordDamaged);
      assert.match(error.message, /cannot be read \(spec: is not JSON\); restore .* backup, or delete/);
      return true;
    });
    await assert.rejects(calls.cancelTask(CALLER, one.id, "", null), RecordDamaged);
    const foreign = { ...CALLER, tenant: "other" };
    await assert.rejects(calls.getTask(foreign, one.id), NotFound);
    await assert.rejects(calls.deleteTask(foreign, one.id), NotFound);
    await calls.deleteTask(CALLER, one.id);
    await assert.rejects(calls.getTask(CALLER, one.id), NotFound);
    assert.equal((await calls.listTasks(CALLER, EVERY)).tasks.length, 1);
  });

  test("keeps no server from starting, and fails what depends on it", async () => {
    await using damage = await DamageBench.open();
    const waiting = await damage.bench.create({ code: "print(1)", dependsOn: [] });
    const next = await damage.bench.create({ code: "print(2)", dependsOn: [waiting.id] });
    await damage.bench.stop();
    damage.tamper(
      `update task set state = 'QUEUED', unfinished = 1, end_time = null where id = '${waiting.id}'`,
    );
    damage.tamper(`update task_spec set spec = '{' where task_id = '${waiting.id}'`);
    damage.tamper(
      `update task set state = 'QUEUED', unfinished = 1, result = null, result_reason = null, end_time = null where id = '${next.id}'`,
    );
    damage.tamper(`delete from attempt where task_id = '${next.id}'`);
    await damage.restart();
    const { application } = damage.bench;
    const failed = await damage.bench.until(next.id, ({ endTime }) => endTime !== null);
    assert.equal(failed.result?.reason, "DEPENDENCY_FAILED");
    assert.match(failed.result?.message ?? "", /its record cannot be read/);
    await assert.rejects(
      damage.bench.create({ code: "print(3)", dependsOn: [waiting.id] }),
      (error) => error instanceof InvalidRequest && /its record cannot be read/.test(error.message),
    );
    // Nothing works on it, whatever its state.
    await application.deleteTask(CALLER, waiting.id);
  });

  test("goes when its time has come", async () => {
    await using damage = await DamageBench.open();
    const { id } = await damage.ended("print(1)");
    await damage.bench.stop();
    damage.tamper(`update task set limits = '', expire_time = 1 where id = '${id}'`);
    await damage.restart();
    for (;;) {
      if ((await damage.database.tasks.get(id)) === undefined) break;
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
  });
});

describe("a page of large tasks", () => {
  test("ends before it is more than a client takes, and paging goes on to the end", async () => {
    await using damage = await DamageBench.open();
    const env = { LARGE: "x".repeat(20_000) };
    const tasks = Array.from({ length: 1000 }, (_, place) => sampleTask(place, {}, { env }));
    await Promise.all(tasks.map((task) => damage.database.tasks.insert(task)));
    await Promise.all(tasks.map((task) => damage.database.tasks.save(succeeded(task), task)));
    const seen: string[] = [];
    let pages = 0;
    for (let pageToken = ""; ; pages += 1) {
      const answer = new TaskMessages("full");
      const request = { ...EVERY, pageSize: 1000, pageToken, fits: answer.add.bind(answer) };
      const page = await damage.bench.application.listTasks(CALLER, request);
      const messages = answer.first(page.tasks.length);
      const bytes = messages.reduce((sum, message) => sum + WireTask.encode(message).finish().length, 0);
      assert.ok(bytes < 4 * 2 ** 20 && messages.length > 1, `${bytes} bytes`);
      seen.push(...messages.map(({ id }) => id));
      pageToken = page.nextPageToken;
      if (pageToken === "") break;
    }
    assert.deepEqual(seen, tasks.map(({ id }) => id).reverse());
    assert.ok(pages > 4 && pages < 12, `${pages} pages`);
  });

  test("holds one that is too large for it alone", async () => {
    const answer = new TaskMessages("full");
    const task = sampleTask(1, {}, { code: "x".repeat(4 * 2 ** 20) });
    assert.equal(answer.add(task), false);
    assert.deepEqual(answer.first(1), [taskToProto(task, "full")]);
  });

  test("is read in parts, too: what it does not show is not loaded", async () => {
    await using damage = await DamageBench.open();
    const code = "x".repeat(2 ** 20);
    for (let place = 0; place < 30; place += 1)
      await damage.database.tasks.insert(sampleTask(place, {}, { code }));
    const query = { ...EVERY, tenant: "tenant", limit: 1000, afterId: "" };
    const { records, nextAfterId } = await damage.database.tasks.list(query);
    assert.ok(records.length > 1 && records.length < 10, `${records.length}`);
    assert.equal(nextAfterId, records.at(-1)?.id);
  });
});
