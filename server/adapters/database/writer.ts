import { setTimeout as delay } from "node:timers/promises";
import { CompiledQuery, type Kysely } from "kysely";
import { Unavailable } from "../../domain/errors.ts";
import { breaksTransaction, isBusy, toDomainError } from "./fault.ts";
import type { Tables } from "./schema.ts";

/** One change of the database. What it throws undoes this change alone. */
type Work<T> = (connection: Kysely<Tables>) => Promise<T>;

interface Member {
  /** Runs the work and keeps its outcome; throws only what ends the whole transaction. May run again after a rollback. */
  attempt(connection: Kysely<Tables>): Promise<void>;
  /** Settles the caller's promise with the outcome; only after the commit. */
  settle(): void;
  fail(error: unknown): void;
}

/** A batch blocks reads for as long as it runs, so that a flood of writes is cut into several. */
const MAX_BATCH = 256;
const BUSY_PAUSE_MILLIS = 25;

const BEGIN = CompiledQuery.raw("begin");
const COMMIT = CompiledQuery.raw("commit");
const ROLLBACK = CompiledQuery.raw("rollback");
const SAVEPOINT = CompiledQuery.raw("savepoint member");
const RELEASE = CompiledQuery.raw("release savepoint member");
const ROLLBACK_MEMBER = CompiledQuery.raw("rollback to savepoint member");

/**
 * Commits the changes asked for in one turn of the event loop together: one transaction and one sync of the disk for all
 * of them. Each keeps its own fate inside a savepoint, and no promise settles before the commit is on the disk.
 */
export class Writer {
  readonly #database: Kysely<Tables>;
  readonly #busyTimeoutMillis: number;
  #queue: Member[] = [];
  #draining: Promise<void> | null = null;
  #closed = false;

  constructor(database: Kysely<Tables>, busyTimeoutMillis: number) {
    this.#database = database;
    this.#busyTimeoutMillis = busyTimeoutMillis;
  }

  run<T>(doing: string, work: Work<T>): Promise<T> {
    if (this.#closed) return Promise.reject(new Unavailable(`${doing}: the server is stopping; try again`));
    return new Promise<T>((resolve, reject) => {
      let settle = () => reject(new Unavailable(`${doing}: not done; try again`));
      this.#queue.push({
        attempt: async (connection) => {
          await connection.executeQuery(SAVEPOINT);
          try {
            const value = await work(connection);
            settle = () => resolve(value);
          } catch (error) {
            if (breaksTransaction(error)) throw error;
            await connection.executeQuery(ROLLBACK_MEMBER);
            settle = () => reject(toDomainError(error, doing));
          }
          await connection.executeQuery(RELEASE);
        },
        settle: () => settle(),
        fail: (error) => reject(toDomainError(error, doing)),
      });
      this.#draining ??= this.#drain();
    });
  }

  /** Refuses new work and waits for what was accepted. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#draining;
  }

  async #drain(): Promise<void> {
    do {
      // The rest of this turn may bring more.
      await new Promise<void>((resolve) => setImmediate(resolve));
      const batch = this.#queue.splice(0, MAX_BATCH);
      await this.#commit(batch);
    } while (this.#queue.length > 0);
    this.#draining = null;
  }

  async #commit(batch: readonly Member[]): Promise<void> {
    try {
      await untilFree(this.#busyTimeoutMillis, () =>
        this.#database.connection().execute((connection) => transact(connection, batch)),
      );
    } catch (error) {
      for (const member of batch) member.fail(error);
      return;
    }
    for (const member of batch) member.settle();
  }
}

/**
 * Does what needs the write lock. Another process may hold it for a while (a backup, a migration), and this one must stay
 * responsive meanwhile.
 */
export async function untilFree<T>(busyTimeoutMillis: number, attempt: () => Promise<T>): Promise<T> {
  const deadline = performance.now() + busyTimeoutMillis;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (!isBusy(error) || performance.now() >= deadline) throw error;
    }
    // No event tells that another process let the lock go.
    await delay(BUSY_PAUSE_MILLIS);
  }
}

/**
 * Kysely's own controlled transactions would never give the connection back when `begin` or `rollback` fails, and every
 * later query would wait for it; so the statements are sent by hand on a borrowed connection.
 */
async function transact(connection: Kysely<Tables>, batch: readonly Member[]): Promise<void> {
  await connection.executeQuery(BEGIN);
  try {
    for (const member of batch) await member.attempt(connection);
    await connection.executeQuery(COMMIT);
  } catch (error) {
    await connection.executeQuery(ROLLBACK).catch(() => {
      // After a full disk SQLite has rolled back by itself and says that there is no transaction.
    });
    throw error;
  }
}
