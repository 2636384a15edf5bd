import { Migrator } from "@mikro-orm/migrations";
import { SqliteDriver, SqlMikroORM } from "@mikro-orm/sql";
import { MIGRATIONS } from "./migrations/sqlite/index.ts";
import { NodeSqlite } from "./node-sqlite.ts";
import { ENTITIES } from "./schema.ts";

export type Orm = ReturnType<typeof createOrm>;

/** MikroORM on one SQLite file, not connected yet. Its migrations are listed, so that none is found by scanning a folder. */
export function createOrm(path: string) {
  return new SqlMikroORM({
    driver: SqliteDriver,
    driverOptions: new NodeSqlite(path),
    dbName: path,
    entities: [...ENTITIES],
    extensions: [Migrator],
    migrations: { migrationsList: [...MIGRATIONS], snapshot: false, silent: true },
  });
}
