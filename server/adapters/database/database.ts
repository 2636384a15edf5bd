import { open } from "node:fs/promises";
import { SystemFault } from "../../domain/errors.ts";
import type { AuditLog, TokenStore } from "../../domain/ports/access-store.ts";
import type { BlobIndex } from "../../domain/ports/blob-store.ts";
import type { ArtifactStore, TaskStore } from "../../domain/ports/task-store.ts";
import type { UsageLedger } from "../../domain/ports/usage-ledger.ts";
import { SqlArtifactStore } from "./artifact-store.ts";
import { SqlAuditLog } from "./audit-log.ts";
import { SqlBlobIndex } from "./blob-index.ts";
import { toDomainError } from "./fault.ts";
import { MIGRATIONS } from "./migrations/sqlite/index.ts";
import { createOrm, type Orm } from "./orm.ts";
import type { Tables } from "./schema.ts";
import { SqlTaskStore } from "./task-store.ts";
import { SqlTokenStore } from "./token-store.ts";
import { SqlUsageLedger } from "./usage-ledger.ts";
import { untilFree, Writer } from "./writer.ts";

export interface DatabaseOptions {
  /** sqlite:///path/to/longshore.db, or sqlite::memory: for a database that ends with the process. */
  readonly url: string;
  /** How long a change waits for another process to let the database go. */
  readonly busyTimeoutMillis?: number;
  /** The time of the rows in task_event. */
  readonly now?: () => Date;
}

/** The records, open: disposing finishes the changes under way and closes the file. */
export interface Database extends AsyncDisposable {
  readonly tasks: TaskStore;
  readonly artifacts: ArtifactStore;
  readonly blobs: BlobIndex;
  readonly ledger: UsageLedger;
  readonly tokens: TokenStore;
  readonly audit: AuditLog;
}

const DEFAULT_BUSY_TIMEOUT_MILLIS = 5_000;
const FILE_PREFIX = "sqlite://";

/** Opens the database, brings its tables up to date and answers the stores on it. */
export async function openDatabase(options: DatabaseOptions): Promise<Database> {
  const path = sqlitePath(options.url);
  const busyTimeoutMillis = options.busyTimeoutMillis ?? DEFAULT_BUSY_TIMEOUT_MILLIS;
  const orm = createOrm(path);
  try {
    if (path !== ":memory:") await createPrivately(path);
    await untilFree(busyTimeoutMillis, () => migrate(orm));
  } catch (error) {
    await orm.close(true);
    throw toDomainError(error, `open database ${options.url}`);
  }
  const kysely = orm.em.getConnection().getClient<Tables>();
  const writer = new Writer(kysely, busyTimeoutMillis);
  return {
    tasks: new SqlTaskStore(kysely, writer, options.now ?? (() => new Date())),
    artifacts: new SqlArtifactStore(kysely, writer),
    blobs: new SqlBlobIndex(kysely, writer),
    ledger: new SqlUsageLedger(kysely),
    tokens: new SqlTokenStore(kysely, writer),
    audit: new SqlAuditLog(kysely, writer),
    async [Symbol.asyncDispose]() {
      await writer.close();
      await orm.close(true);
    },
  };
}

function sqlitePath(url: string): string {
  if (url === "sqlite::memory:") return ":memory:";
  const path = url.slice(FILE_PREFIX.length);
  if (url.startsWith(FILE_PREFIX) && path.startsWith("/") && !path.endsWith("/")) return path;
  // Another kind of URL may hold a password, so it is not repeated.
  const scheme = /^[a-z][a-z0-9+.-]*(?=:)/i.exec(url)?.[0] ?? "none";
  throw new SystemFault(
    `the database URL (scheme: ${scheme}) is not understood; use sqlite:///absolute/path/to/longshore.db or sqlite::memory:`,
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

async function migrate(orm: Orm): Promise<void> {
  const known = new Set(MIGRATIONS.map(({ name }) => name));
  const unknown = (await orm.migrator.getExecuted()).filter(({ name }) => !known.has(name));
  if (unknown.length > 0) {
    throw new SystemFault(
      `the database was written by a newer server (${unknown.map(({ name }) => name).join(", ")}); run that version or restore a backup`,
    );
  }
  await orm.migrator.up();
}
