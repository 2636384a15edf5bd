import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite";
import { SqliteDialect } from "kysely";

/** What one prepared statement costs is worth keeping, but IN lists of every length would pile up without an end. */
const KEPT_STATEMENTS = 256;

/** Longer than any other connection of ours holds the lock; the wait blocks the whole process, so it is short. */
const BLOCKING_WAIT_MILLIS = 20;

const PRAGMAS = [
  "journal_mode = WAL",
  // A commit answers a client, so it must survive a loss of power: WAL alone would only survive the process.
  "synchronous = FULL",
  "foreign_keys = ON",
  // What a savepoint may have to undo is written to a temporary file otherwise: a third of the time of an insert.
  "temp_store = MEMORY",
  `busy_timeout = ${BLOCKING_WAIT_MILLIS}`,
  "trusted_schema = OFF",
];

/**
 * Kysely on `node:sqlite`, as MikroORM's NodeSqliteDialect is, but with prepared statements kept, with the pragmas that
 * make a commit durable, and with transactions that take the write lock at once: a deferred one would fail half-way.
 */
export class NodeSqlite extends SqliteDialect {
  constructor(path: string) {
    super({ database: async () => new Connection(path) });
  }
}

class Connection {
  readonly #database: DatabaseSync;
  readonly #statements = new Map<string, Statement>();

  constructor(path: string) {
    this.#database = new DatabaseSync(path);
    try {
      for (const pragma of PRAGMAS) this.#database.exec(`pragma ${pragma}`);
    } catch (error) {
      this.#database.close();
      throw error;
    }
  }

  prepare(sql: string): Statement {
    const text = sql === "begin" ? "begin immediate" : sql;
    const known = this.#statements.get(text);
    if (known !== undefined) {
      this.#statements.delete(text);
      this.#statements.set(text, known);
      return known;
    }
    const statement = new Statement(this.#database.prepare(text));
    this.#statements.set(text, statement);
    if (this.#statements.size > KEPT_STATEMENTS) {
      const [oldest] = this.#statements.keys();
      if (oldest !== undefined) this.#statements.delete(oldest);
    }
    return statement;
  }

  close(): void {
    this.#statements.clear();
    this.#database.close();
  }
}

class Statement {
  readonly reader: boolean;
  readonly #statement: StatementSync;

  constructor(statement: StatementSync) {
    this.#statement = statement;
    this.reader = statement.columns().length > 0;
  }

  all(parameters: readonly unknown[]): unknown[] {
    return this.#statement.all(...parameters.map(bindable));
  }

  run(parameters: readonly unknown[]): ReturnType<StatementSync["run"]> {
    return this.#statement.run(...parameters.map(bindable));
  }

  iterate(parameters: readonly unknown[]): IterableIterator<unknown> {
    return this.#statement.iterate(...parameters.map(bindable));
  }
}

function bindable(value: unknown): SQLInputValue {
  switch (typeof value) {
    case "string":
    case "number":
    case "bigint":
      return value;
    case "boolean":
      return value ? 1 : 0;
  }
  if (value === null || value instanceof Uint8Array) return value;
  throw new TypeError(`a ${typeof value} cannot be stored in SQLite`);
}
