import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { openDatabase } from "#server/adapters/database/database.ts";
import { AccessBench } from "../support/access-bench.ts";
import { MemoryDatabase } from "../support/fakes/memory-database.ts";
import { openTemporaryDatabase } from "../support/temporary-database.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";
import { accessStoreContract } from "./access-store.ts";

accessStoreContract("the fake in memory", async () => new MemoryDatabase());
accessStoreContract("SQLite", openTemporaryDatabase);

test("SQLite itself refuses to change or remove what the audit log holds", async () => {
  await using folder = await TemporaryFolder.create();
  const path = folder.at("longshore.db");
  await using database = await openDatabase({ url: `sqlite://${path}` });
  const { tokens, audit } = database;
  await using bench = new AccessBench();
  await bench.start({ tokens, audit });
  using other = new DatabaseSync(path);
  for (const statement of ["update audit_event set subject = 'nobody'", "delete from audit_event"])
    assert.throws(() => other.exec(statement), /audit log stays as it is/);
  assert.equal(
    (await audit.list({ tenant: null, since: null, until: null, afterId: "", limit: 9 })).length,
    1,
  );
});
