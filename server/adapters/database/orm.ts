import { Migrator } from "@mikro-orm/migrations";
import { PostgreSqlDriver } from "@mikro-orm/postgresql";
import { SqliteDriver, SqlMikroORM } from "@mikro-orm/sql";
import { MIGRATIONS as POSTGRES_MIGRATIONS } from "./migrations/postgres/index.ts";
import { MIGRATIONS as SQLITE_MIGRATIONS } from "./migrations/sqlite/index.ts";
import { NodeSqlite } from "./node-sqlite.ts";
import type { PostgresSession } from "./postgres-session.ts";
import { ENTITIES, POSTGRES_ENTITIES } from "./schema.ts";

export type Orm = ReturnType<typeof createSqliteOrm> | ReturnType<typeof createPostgresOrm>;

// Migrations are listed, so that none is found by scanning a folder.
const extensions = [Migrator];
const quiet = { snapshot: false, silent: true } as const;

/** MikroORM on one SQLite file, not connected yet. */
export function createSqliteOrm(path: string) {
  return new SqlMikroORM({
    entities: [...ENTITIES],
    extensions,
    driver: SqliteDriver,
    driverOptions: new NodeSqlite(path),
    dbName: path,
    migrations: { migrationsList: [...SQLITE_MIGRATIONS], ...quiet },
  });
}

/** MikroORM on the one connection that may change the database, not connected yet. */
export function createPostgresOrm(session: PostgresSession) {
  return new SqlMikroORM({
    entities: POSTGRES_ENTITIES,
    extensions,
    driver: PostgreSqlDriver,
    driverOptions: session.dialect(),
    dbName: session.databaseName,
    migrations: { migrationsList: [...POSTGRES_MIGRATIONS], ...quiet },
  });
}
