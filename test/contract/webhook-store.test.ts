import { MemoryDatabase } from "../support/fakes/memory-database.ts";
import { openTemporaryDatabase } from "../support/temporary-database.ts";
import { webhookStoreContract } from "./webhook-store.ts";

webhookStoreContract("the fake in memory", async () => new MemoryDatabase());
webhookStoreContract("SQLite", openTemporaryDatabase);
