import type { Kysely } from "kysely";
import { SystemFault } from "../../domain/errors.ts";
import type { DamagedTask } from "../../domain/task-record.ts";
import type { Orm } from "./orm.ts";
import type { Tables } from "./schema.ts";

export interface DatabaseOptions {
  /**
   * sqlite:///path/to/longshore.db, sqlite::memory: for a database that ends with the process, or
   * postgres://user:password@host:port/database with libpq's parameters, such as ?sslmode=verify-full.
   */
  readonly url: string;
  /** SQLite only: how long a change waits for another process to let the database go. */
  readonly busyTimeoutMillis?: number;
  /** The time of the rows in task_event. */
  readonly now?: () => Date;
  /** Told once of each task whose record cannot be read. */
  readonly onDamaged?: (task: DamagedTask) => void;
  /** PostgreSQL only: another server has begun to write; nothing that this one does can be kept any more. */
  readonly onDeposed?: (reason: string) => void;
  /** PostgreSQL only: waits for another server's end instead of refusing to start; called when the wait begins. */
  readonly standby?: { readonly waiting: () => void; readonly signal: AbortSignal };
}

/** A database whose tables are up to date. */
export interface Connections extends AsyncDisposable {
  readonly reader: Kysely<Tables>;
  /** All changes go through this one, one transaction at a time. */
  readonly writer: Kysely<Tables>;
  claim(installationId: string): Promise<void>;
}

/** Brings the tables up to date. Throws SystemFault where a newer server has written to them. */
export async function migrate(orm: Orm, known: readonly { readonly name: string }[]): Promise<void> {
  const names = new Set(known.map(({ name }) => name));
  const unknown = (await orm.migrator.getExecuted()).filter(({ name }) => !names.has(name));
  if (unknown.length > 0) {
    throw new SystemFault(
      `the database was written by a newer server (${unknown.map(({ name }) => name).join(", ")}); run that version or restore a backup`,
    );
  }
  await orm.migrator.up();
}
