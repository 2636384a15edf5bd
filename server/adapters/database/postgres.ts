import { setTimeout as delay } from "node:timers/promises";
import { Kysely, PostgresDialect } from "kysely";
import type { ClientConfig } from "pg";
import { parseIntoClientConfig } from "pg-connection-string";
import { SystemFault } from "../../domain/errors.ts";
import { type Connections, type DatabaseOptions, migrate } from "./connections.ts";
import { toDomainError } from "./fault.ts";
import { MIGRATIONS } from "./migrations/postgres/index.ts";
import { createPostgresOrm } from "./orm.ts";
import { ReaderPool } from "./postgres-client.ts";
import { PostgresSession } from "./postgres-session.ts";
import type { Tables } from "./schema.ts";

/** Reads that may go on at the same time; every change goes through the session alone. */
const READERS = 8;
/** How often a standby asks for the lock: PostgreSQL could tell of its release, but not of the death of the one who waits. */
const STANDBY_POLL_MILLIS = 500;

/**
 * Two roads: a session for changes, which holds the lock of the database, and a pool for reads. The tables are made by the session,
 * so that two servers never migrate at once.
 */
export async function openPostgres(options: DatabaseOptions): Promise<Connections> {
  const config = clientConfig(options.url);
  const where = `${config.host ?? "localhost"}/${config.database ?? ""}`;
  const session = new PostgresSession({ config, onDeposed: options.onDeposed ?? (() => undefined) });
  await using undo = new AsyncDisposableStack();
  undo.use(session);
  try {
    await takeSession(session, options, where);
    const orm = createPostgresOrm(session);
    undo.defer(() => orm.close(true));
    await migrate(orm, MIGRATIONS);
    await session.beginTerm();
    const reader = new Kysely<Tables>({
      dialect: new PostgresDialect({ pool: new ReaderPool(config, READERS) }),
    });
    undo.defer(() => reader.destroy());
    const writer = orm.em.getConnection().getClient<Tables>();
    const opened = undo.move();
    const claim = (installationId: string) => session.claim(installationId);
    return { reader, writer, claim, [Symbol.asyncDispose]: () => opened.disposeAsync() };
  } catch (error) {
    throw toDomainError(error, `open the PostgreSQL database ${where}`);
  }
}

async function takeSession(
  session: PostgresSession,
  { standby }: DatabaseOptions,
  where: string,
): Promise<void> {
  if (await session.tryOpen()) return;
  if (standby === undefined) {
    throw new SystemFault(
      `another server uses the database ${where}. Stop it first, or set LONGSHORE_STANDBY=true to wait for its end`,
    );
  }
  standby.waiting();
  do await delay(STANDBY_POLL_MILLIS, undefined, { signal: standby.signal });
  while (!(await session.tryOpen()));
}

function clientConfig(url: string): ClientConfig {
  try {
    return parseIntoClientConfig(url);
  } catch (error) {
    // The message of a URL that cannot be parsed repeats it, and with it a password.
    throw new SystemFault(
      "the PostgreSQL URL cannot be understood; write it as postgres://user:password@host:5432/database",
      {},
      { cause: error instanceof Error ? error.name : undefined },
    );
  }
}
