import { MemoryDatabase } from "../support/fakes/memory-database.ts";
import { openTemporaryDatabase } from "../support/temporary-database.ts";
import { usageLedgerContract } from "./usage-ledger.ts";

usageLedgerContract("memory", async () => new MemoryDatabase());
usageLedgerContract("SQLite", openTemporaryDatabase);
