import { join } from "node:path";
import { type Database, openDatabase } from "#server/adapters/database/database.ts";
import { TemporaryFolder } from "./temporary-folder.ts";

/** A new SQLite database in a folder of its own, which goes when the database is disposed. */
export async function openTemporaryDatabase(): Promise<Database> {
  const folder = await TemporaryFolder.create();
  const database = await openDatabase({ url: `sqlite://${join(folder.path, "longshore.db")}` });
  return {
    tasks: database.tasks,
    artifacts: database.artifacts,
    blobs: database.blobs,
    ledger: database.ledger,
    tokens: database.tokens,
    audit: database.audit,
    webhooks: database.webhooks,
    outbox: database.outbox,
    claim: database.claim,
    async [Symbol.asyncDispose]() {
      await database[Symbol.asyncDispose]();
      await folder[Symbol.asyncDispose]();
    },
  };
}
