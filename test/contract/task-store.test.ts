import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { openDatabase } from "#server/adapters/database/database.ts";
import type { DamagedTask } from "#server/domain/task-record.ts";
import { MemoryDatabase } from "../support/fakes/memory-database.ts";
import { openTemporaryDatabase } from "../support/temporary-database.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";
import { damagedTasksContract } from "./damaged-tasks.ts";
import { taskStoreContract } from "./task-store.ts";

taskStoreContract("the fake in memory", async () => new MemoryDatabase());
taskStoreContract("SQLite in a file", openTemporaryDatabase);
taskStoreContract("SQLite in memory", () => openDatabase({ url: "sqlite::memory:" }));
damagedTasksContract("SQLite", async () => {
  await using stack = new AsyncDisposableStack();
  const folder = stack.use(await TemporaryFolder.create());
  const path = join(folder.path, "longshore.db");
  const told: DamagedTask[] = [];
  const database = stack.use(
    await openDatabase({ url: `sqlite://${path}`, onDamaged: (task) => told.push(task) }),
  );
  const tamper = (statement: string) => {
    using beside = new DatabaseSync(path);
    beside.exec(statement);
  };
  const opened = stack.move();
  return { tasks: database.tasks, told, tamper, [Symbol.asyncDispose]: () => opened.disposeAsync() };
});
