import { MemoryDatabase } from "../support/fakes/memory-database.ts";
import { openTemporaryDatabase } from "../support/temporary-database.ts";
import { blobIndexContract } from "./blob-index.ts";

blobIndexContract("the fake in memory", async () => new MemoryDatabase());
blobIndexContract("SQLite", openTemporaryDatabase);
