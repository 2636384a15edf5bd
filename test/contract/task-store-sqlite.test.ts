import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { open, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, type TestContext, test } from "node:test";
import { promisify } from "node:util";
import { type Database, openDatabase } from "#server/adapters/database/database.ts";
import { createSqliteOrm } from "#server/adapters/database/orm.ts";
import { SystemFault, Unavailable } from "#server/domain/errors.ts";
import { next, sampleAttempt, sampleId, sampleStage, sampleTask, succeeded } from "../support/sample-task.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";

const urlOf = (path: string) => `sqlite://${path}`;

/** Transactions in the write-ahead log: the last frame of each carries the database's size (sqlite.org/fileformat2). */
async function commits(path: string): Promise<number> {
  const wal = await readFile(`${path}-wal`);
  const frameBytes = 24 + wal.readUInt32BE(8);
  const salt = wal.subarray(16, 24);
  let count = 0;
  for (let frame = 32; frame + frameBytes <= wal.length; frame += frameBytes) {
    if (!wal.subarray(frame + 8, frame + 16).equals(salt)) break;
    if (wal.readUInt32BE(frame + 4) !== 0) count += 1;
  }
  return count;
}

/** Runs `change` on the file as another process would. */
function tamper(path: string, sql: string): void {
  const database = new DatabaseSync(path);
  database.exec(sql);
  database.close();
}

describe("SQLite database", () => {
  test("what was committed is there after the database is opened again", async () => {
    await using folder = await TemporaryFolder.create();
    const url = urlOf(join(folder.path, "a b ü?.db"));
    const done = succeeded(sampleTask(1, {}, { labels: { team: "red" } }));
    {
      await using database = await openDatabase({ url });
      await database.tasks.insert(sampleTask(1, {}, { labels: { team: "red" } }));
      await database.tasks.save(done, sampleTask(1));
    }
    await using database = await openDatabase({ url });
    assert.deepEqual(await database.tasks.get(done.id), done);
  });

  test("the file is readable by its owner alone", async () => {
    await using folder = await TemporaryFolder.create();
    const path = join(folder.path, "longshore.db");
    await using database = await openDatabase({ url: urlOf(path) });
    await database.tasks.insert(sampleTask(1));
    for (const file of [path, `${path}-wal`, `${path}-shm`]) {
      assert.equal((await stat(file)).mode & 0o777, 0o600);
    }
  });

  test("every change that was answered survives the death of the process", async () => {
    await using folder = await TemporaryFolder.create();
    const url = urlOf(join(folder.path, "longshore.db"));
    const script = `
      const { openDatabase } = await import(${JSON.stringify(import.meta.resolve("#server/adapters/database/database.ts"))});
      const { sampleTask, succeeded } = await import(${JSON.stringify(import.meta.resolve("../support/sample-task.ts"))});
      const { writeSync } = await import("node:fs");
      const database = await openDatabase({ url: ${JSON.stringify(url)} });
      let place = 0;
      async function work() {
        for (;;) {
          const task = sampleTask(place++);
          await database.tasks.insert(task);
          await database.tasks.save(succeeded(task), task);
          writeSync(1, task.id + "\\n");
        }
      }
      await Promise.all(Array.from({ length: 16 }, work));
    `;
    const child = spawn(process.execPath, ["--input-type=module", "--eval", script], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let output = "";
    for await (const chunk of child.stdout) {
      output += chunk;
      if (output.length > 10_000) child.kill("SIGKILL");
    }
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
    const answered = output.split("\n").slice(0, -1);
    assert.ok(answered.length > 300);
    await using database = await openDatabase({ url });
    for (const id of answered) {
      assert.equal((await database.tasks.get(id))?.state, "SUCCEEDED", `task ${id}`);
    }
  });

  test("changes asked for in one turn share one commit", async () => {
    await using folder = await TemporaryFolder.create();
    const path = join(folder.path, "longshore.db");
    await using database = await openDatabase({ url: urlOf(path) });
    await database.tasks.insert(sampleTask(0));
    const before = await commits(path);
    const tasks = Array.from({ length: 50 }, (_, index) => sampleTask(index + 1));
    await Promise.all(tasks.map((task) => database.tasks.insert(task)));
    assert.equal((await commits(path)) - before, 1);
    await Promise.all(tasks.map((task) => database.tasks.save(succeeded(task), task)));
    assert.equal((await commits(path)) - before, 2);
  });

  test("one event is kept for each state a task entered", async () => {
    await using folder = await TemporaryFolder.create();
    const path = join(folder.path, "longshore.db");
    const time = new Date("2026-05-05T05:05:05.005Z");
    await using database = await openDatabase({ url: urlOf(path), now: () => time });
    const queued = sampleTask(1);
    const preparing = next(queued, { state: "PREPARING" });
    const noted = next(preparing, { stages: [sampleStage("queue", 0)] });
    await database.tasks.insert(queued);
    await database.tasks.save(preparing, queued);
    await database.tasks.save(noted, preparing);
    await database.tasks.save(succeeded(noted), noted);
    using reader = new DatabaseSync(path, { readOnly: true });
    const rows = reader.prepare("select version, state, time from task_event order by version").all();
    assert.deepEqual(
      rows.map((row) => ({ ...row })),
      [
        { version: 1, state: "QUEUED", time: queued.createTime.getTime() },
        { version: 2, state: "PREPARING", time: time.getTime() },
        { version: 4, state: "SUCCEEDED", time: time.getTime() },
      ],
    );
  });

  test("a save writes only what differs from the version before", async () => {
    await using folder = await TemporaryFolder.create();
    const path = join(folder.path, "longshore.db");
    await using database = await openDatabase({ url: urlOf(path) });
    const code = "x".repeat(2 ** 20);
    const task = sampleTask(1, { attempts: [sampleAttempt(1)] }, { code });
    await database.tasks.insert(task);
    const { size } = await stat(`${path}-wal`);
    await database.tasks.save(next(task, { state: "RUNNING" }), task);
    assert.ok((await stat(`${path}-wal`)).size - size < 100_000);
  });
});

describe("SQLite database in trouble", () => {
  test("a change waits for another process that holds the lock", async () => {
    await using folder = await TemporaryFolder.create();
    const path = join(folder.path, "longshore.db");
    await using database = await openDatabase({ url: urlOf(path) });
    using other = new DatabaseSync(path);
    other.exec("begin immediate");
    const inserted = database.tasks.insert(sampleTask(1));
    assert.equal(await database.tasks.get(sampleId(1)), undefined);
    other.exec("commit");
    await inserted;
    assert.equal((await database.tasks.get(sampleId(1)))?.state, "QUEUED");
  });

  test("a lock that is held too long makes changes unavailable, and later ones work", async () => {
    await using folder = await TemporaryFolder.create();
    const path = join(folder.path, "longshore.db");
    await using database = await openDatabase({ url: urlOf(path), busyTimeoutMillis: 100 });
    using other = new DatabaseSync(path);
    other.exec("begin immediate");
    const outcomes = await Promise.allSettled([
      database.tasks.insert(sampleTask(1)),
      database.tasks.insert(sampleTask(2)),
      database.blobs.remove("tenant", "x"),
    ]);
    for (const outcome of outcomes) {
      assert.ok(outcome.status === "rejected" && outcome.reason instanceof Unavailable);
      assert.match(outcome.reason.message, /another process holds the lock/);
    }
    other.exec("rollback");
    await database.tasks.insert(sampleTask(1));
    assert.deepEqual(await database.tasks.get(sampleId(1)), sampleTask(1));
  });

  test("a full disk makes changes unavailable, and later ones work", async (context) => {
    await using folder = await TemporaryFolder.create();
    await using disk = await smallDisk(context, folder.path);
    if (disk === null) return;
    await using database = await openDatabase({ url: urlOf(join(folder.path, "longshore.db")) });
    await database.tasks.insert(sampleTask(0));
    await writeFile(join(folder.path, "filler"), "");
    await fill(join(folder.path, "filler"));
    const big = { code: "x".repeat(2 ** 20) };
    const outcomes = await Promise.allSettled([
      database.tasks.insert(sampleTask(1, {}, big)),
      database.tasks.insert(sampleTask(2, {}, big)),
    ]);
    for (const outcome of outcomes) {
      assert.ok(outcome.status === "rejected" && outcome.reason instanceof Unavailable);
      assert.match(outcome.reason.message, /disk/);
    }
    assert.deepEqual(await database.tasks.unfinished(), [sampleTask(0)]);
    await writeFile(join(folder.path, "filler"), "");
    await database.tasks.insert(sampleTask(1, {}, big));
    assert.equal((await database.tasks.unfinished()).length, 2);
  });

  test("a change that cannot be stored fails alone as a fault of ours", async () => {
    await using database = await openDatabase({ url: "sqlite::memory:" });
    const broken = { ...sampleTask(1), createTime: new Date(Number.NaN) };
    const outcomes = await Promise.allSettled([
      database.tasks.insert(broken),
      database.tasks.insert(sampleTask(2)),
    ]);
    const [first, second] = outcomes;
    assert.ok(first?.status === "rejected" && first.reason instanceof SystemFault);
    assert.equal(second?.status, "fulfilled");
  });

  test("changes under way are finished by a stop; later ones are unavailable", async () => {
    await using folder = await TemporaryFolder.create();
    const url = urlOf(join(folder.path, "longshore.db"));
    const closing: Database = await openDatabase({ url });
    const inserted = Promise.all([1, 2, 3].map((place) => closing.tasks.insert(sampleTask(place))));
    await closing[Symbol.asyncDispose]();
    await inserted;
    await assert.rejects(closing.tasks.insert(sampleTask(4)), Unavailable);
    await using database = await openDatabase({ url });
    assert.equal((await database.tasks.unfinished()).length, 3);
  });
});

describe("opening a SQLite database", () => {
  test("the migrations make exactly the tables that the schema describes", async () => {
    const orm = createSqliteOrm(":memory:");
    try {
      await orm.migrator.up();
      assert.equal(await orm.schema.getUpdateSchemaSQL({ wrap: false }), "");
    } finally {
      await orm.close(true);
    }
  });

  test("URLs that are not understood are refused without repeating a password", async () => {
    for (const url of ["", "mysql://u:hunter2@h/db", "sqlite://relative.db", "sqlite:///folder/", "/a.db"]) {
      await assert.rejects(openDatabase({ url }), (error) => {
        assert.ok(error instanceof SystemFault);
        assert.match(error.message, /sqlite:\/\/\/absolute/);
        assert.doesNotMatch(error.message, /hunter2/);
        return true;
      });
    }
  });

  test("a file that cannot be a database is refused by name", async () => {
    await using folder = await TemporaryFolder.create();
    const text = join(folder.path, "text.db");
    await writeFile(text, "this is not a database, and long enough to be looked at ".repeat(50));
    await assert.rejects(openDatabase({ url: urlOf(text) }), (error) => {
      assert.ok(error instanceof SystemFault);
      assert.match(error.message, /text\.db.*not a database/s);
      return true;
    });
    await assert.rejects(
      openDatabase({ url: urlOf(join(folder.path, "no", "folder.db")) }),
      /create its folder/,
    );
  });

  test("a database of a newer server is left alone", async () => {
    await using folder = await TemporaryFolder.create();
    const path = join(folder.path, "longshore.db");
    await (await openDatabase({ url: urlOf(path) }))[Symbol.asyncDispose]();
    tamper(path, "insert into mikro_orm_migrations (name) values ('29990101000000-future')");
    await assert.rejects(openDatabase({ url: urlOf(path) }), /newer server \(29990101000000-future\)/);
  });

  test("opening waits for another process that holds the lock", async () => {
    await using folder = await TemporaryFolder.create();
    const path = join(folder.path, "longshore.db");
    using other = new DatabaseSync(path);
    other.exec("pragma journal_mode = wal; begin immediate");
    await assert.rejects(openDatabase({ url: urlOf(path), busyTimeoutMillis: 50 }), Unavailable);
    const opening = openDatabase({ url: urlOf(path) });
    setImmediate(() => other.exec("rollback"));
    await using database = await opening;
    await database.tasks.insert(sampleTask(1));
  });
});

/** A filesystem of 8 MiB at `path` until it is disposed; null, with the test skipped, where none can be mounted. */
async function smallDisk(context: TestContext, path: string): Promise<AsyncDisposable | null> {
  const run = promisify(execFile);
  try {
    await run("mount", ["-t", "tmpfs", "-o", "size=8m", "tmpfs", path]);
  } catch (error) {
    context.skip(`no small filesystem can be mounted here: ${error}`);
    return null;
  }
  return {
    async [Symbol.asyncDispose]() {
      await run("umount", [path]);
    },
  };
}

/** Writes until the disk takes no more. */
async function fill(path: string): Promise<void> {
  await using file = await open(path, "w");
  const block = Buffer.alloc(4096);
  for (;;) {
    try {
      await file.write(block);
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === "ENOSPC") return;
      throw error;
    }
  }
}
