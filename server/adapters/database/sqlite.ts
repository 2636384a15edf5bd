import { open } from "node:fs/promises";
import { SystemFault } from "../../domain/errors.ts";
import { type Connections, migrate } from "./connections.ts";
import { toDomainError } from "./fault.ts";
import { MIGRATIONS } from "./migrations/sqlite/index.ts";
import { createSqliteOrm } from "./orm.ts";
import type { Tables } from "./schema.ts";
import { untilFree } from "./writer.ts";

const FILE_PREFIX = "sqlite://";

export async function openSqlite(url: string, busyTimeoutMillis: number): Promise<Connections> {
  const path = pathOf(url);
  const orm = createSqliteOrm(path);
  try {
    if (path !== ":memory:") await createPrivately(path);
    await untilFree(busyTimeoutMillis, () => migrate(orm, MIGRATIONS));
  } catch (error) {
    await orm.close(true);
    throw toDomainError(error, `open database ${url}`);
  }
  const kysely = orm.em.getConnection().getClient<Tables>();
  return {
    reader: kysely,
    writer: kysely,
    // The file lies in the data folder, or was put elsewhere on purpose.
    claim: async () => undefined,
    [Symbol.asyncDispose]: () => orm.close(true),
  };
}

function pathOf(url: string): string {
  if (url === "sqlite::memory:") return ":memory:";
  const path = url.slice(FILE_PREFIX.length);
  if (url.startsWith(FILE_PREFIX) && path.startsWith("/") && !path.endsWith("/")) return path;
  throw new SystemFault(
    `the database URL ${url} is not understood; use sqlite:///absolute/path/to/longshore.db or sqlite::memory:`,
  );
}

/** Specs hold code and variables of every tenant; SQLite gives its side files the rights of the file itself. */
async function createPrivately(path: string): Promise<void> {
  try {
    const file = await open(path, "a", 0o600);
    await file.close();
  } catch (error) {
    throw new SystemFault(
      `the database file ${path} cannot be opened for writing; create its folder and give the server write access: ${error}`,
      {},
      { cause: error },
    );
  }
}
