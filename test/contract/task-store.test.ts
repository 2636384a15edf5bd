import { openDatabase } from "#server/adapters/database/database.ts";
import { MemoryDatabase } from "../support/fakes/memory-database.ts";
import { openTemporaryDatabase } from "../support/temporary-database.ts";
import { taskStoreContract } from "./task-store.ts";

taskStoreContract("the fake in memory", async () => new MemoryDatabase());
taskStoreContract("SQLite in a file", openTemporaryDatabase);
taskStoreContract("SQLite in memory", () => openDatabase({ url: "sqlite::memory:" }));
