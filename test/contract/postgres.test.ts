import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { openDatabase } from "#server/adapters/database/database.ts";
import { SystemFault, Unavailable } from "#server/domain/errors.ts";
import type { DamagedTask } from "#server/domain/task-record.ts";
import { next, sampleTask } from "../support/sample-task.ts";
import { openTemporaryPostgres, TemporaryPostgres, whyNoPostgres } from "../support/temporary-postgres.ts";
import { accessStoreContract } from "./access-store.ts";
import { blobIndexContract } from "./blob-index.ts";
import { damagedTasksContract } from "./damaged-tasks.ts";
import { taskStoreContract } from "./task-store.ts";
import { usageLedgerContract } from "./usage-ledger.ts";
import { webhookStoreContract } from "./webhook-store.ts";

if (whyNoPostgres !== undefined) test("the stores on PostgreSQL", { skip: whyNoPostgres });
else {
  taskStoreContract("PostgreSQL", openTemporaryPostgres);
  damagedTasksContract("PostgreSQL", async () => {
    await using stack = new AsyncDisposableStack();
    const postgres = stack.use(await TemporaryPostgres.create());
    const told: DamagedTask[] = [];
    const database = stack.use(
      await openDatabase({ url: postgres.url(), onDamaged: (task) => told.push(task) }),
    );
    const tamper = async (statement: string) => void (await postgres.run(statement));
    const opened = stack.move();
    return { tasks: database.tasks, told, tamper, [Symbol.asyncDispose]: () => opened.disposeAsync() };
  });
  blobIndexContract("PostgreSQL", openTemporaryPostgres);
  usageLedgerContract("PostgreSQL", openTemporaryPostgres);
  accessStoreContract("PostgreSQL", openTemporaryPostgres);
  webhookStoreContract("PostgreSQL", openTemporaryPostgres);
}

describe("PostgreSQL database", { skip: whyNoPostgres }, () => {
  test("what was committed is there after the database is opened again", async () => {
    await using postgres = await TemporaryPostgres.create();
    {
      await using database = await openDatabase({ url: postgres.url() });
      await database.tasks.insert(sampleTask(1));
    }
    await using database = await openDatabase({ url: postgres.url() });
    assert.deepEqual(await database.tasks.get(sampleTask(1).id), sampleTask(1));
  });

  test("a second server is refused while the first has it, and told what to do", async () => {
    await using postgres = await TemporaryPostgres.create();
    await using _first = await openDatabase({ url: postgres.url() });
    await assert.rejects(
      openDatabase({ url: postgres.url() }),
      (error) =>
        error instanceof SystemFault && /another server uses .* LONGSHORE_STANDBY/.test(error.message),
    );
  });

  test("a standby waits, and has it as soon as the first has let go", async () => {
    await using postgres = await TemporaryPostgres.create();
    const waiting = Promise.withResolvers<void>();
    const { signal } = new AbortController();
    await using stack = new AsyncDisposableStack();
    const first = stack.use(await openDatabase({ url: postgres.url() }));
    await first.tasks.insert(sampleTask(1));
    const second = openDatabase({ url: postgres.url(), standby: { waiting: waiting.resolve, signal } });
    await waiting.promise;
    await stack.disposeAsync();
    await using database = await second;
    assert.deepEqual(await database.tasks.get(sampleTask(1).id), sampleTask(1));
  });

  test("goes on after its connections were cut, if nobody else wrote meanwhile", async () => {
    await using postgres = await TemporaryPostgres.create();
    await using database = await openDatabase({
      url: postgres.url(),
      onDeposed: (reason) => assert.fail(reason),
    });
    await database.tasks.insert(sampleTask(1));
    await postgres.cutConnections();
    const later = next(sampleTask(1), { state: "PREPARING" });
    // The change under way when it breaks may fail; it may pass by itself, and the next one does.
    await database.tasks.save(later, sampleTask(1)).catch((error: unknown) => {
      assert.ok(error instanceof Unavailable, String(error));
      return database.tasks.save(later, sampleTask(1));
    });
    assert.deepEqual(await database.tasks.get(later.id), later);
  });

  test("a server whose place another one took cannot write any more, and is told", async () => {
    await using postgres = await TemporaryPostgres.create();
    const deposed = Promise.withResolvers<string>();
    await using first = await openDatabase({ url: postgres.url(), onDeposed: deposed.resolve });
    await first.tasks.insert(sampleTask(1));
    await postgres.cutConnections();
    {
      await using second = await openDatabase({ url: postgres.url() });
      await second.tasks.save(next(sampleTask(1), { state: "PREPARING" }), sampleTask(1));
    }
    const change = () => first.tasks.save(next(sampleTask(1), { state: "CANCELLED" }), sampleTask(1));
    // The first change may only find out that the connection is gone.
    await assert.rejects(change(), Unavailable);
    await assert.rejects(change(), Unavailable);
    assert.match(await deposed.promise, /another server/);
    const [row] = await postgres.run("select state from task");
    assert.deepEqual(row, { state: "PREPARING" });
  });

  test("an address that cannot be reached, a database that is not there and a wrong URL are told without the password", async () => {
    await using postgres = await TemporaryPostgres.create();
    const wrong = [
      ["postgres://ana:geheim@127.0.0.1:1/longshore", /cannot be reached/],
      [postgres.url().replace(postgres.name, "nowhere"), /does not exist/],
      ["postgres://ana:geheim@host:port:5432/x", /cannot be understood/],
    ] as const;
    for (const [url, expected] of wrong) {
      await assert.rejects(openDatabase({ url }), (error) => {
        assert.ok(error instanceof Error);
        assert.match(error.message, expected);
        assert.doesNotMatch(String(error.stack), /geheim/);
        return true;
      });
    }
  });

  test("a NUL in a plain text is shown as what cannot be shown", async () => {
    await using database = await openTemporaryPostgres();
    const task = sampleTask(1, { owner: "a\0b" });
    await database.tasks.insert(task);
    assert.equal((await database.tasks.get(task.id))?.owner, "a\uFFFDb");
  });

  test("PostgreSQL itself refuses to change or remove what the audit log holds", async () => {
    await using postgres = await TemporaryPostgres.create();
    await using database = await openDatabase({ url: postgres.url() });
    const time = new Date();
    const action = "call.denied" as const;
    const texts = { tenant: "t", subject: "s", credential: "c", resource: "", detail: "", peer: "" };
    await database.audit.append({ id: "1", time, action, count: 1, ...texts });
    for (const statement of ["update audit_event set subject = 'nobody'", "delete from audit_event"])
      await assert.rejects(postgres.run(statement), /audit log stays as it is/);
  });
});
