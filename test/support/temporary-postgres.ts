import { randomUUID } from "node:crypto";
import { Client } from "pg";
import { type Database, type DatabaseOptions, openDatabase } from "#server/adapters/database/database.ts";

const CLUSTER = process.env.LONGSHORE_TEST_POSTGRES ?? "";

/** Why there is no PostgreSQL to test with; undefined where there is one. */
export const whyNoPostgres =
  CLUSTER === ""
    ? "LONGSHORE_TEST_POSTGRES is not set: scripts/test starts a PostgreSQL where one is installed"
    : undefined;

async function administer(statement: string): Promise<void> {
  const client = new Client({ connectionString: CLUSTER });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}

/** An empty database in the cluster of the tests, which goes when it is disposed. */
export class TemporaryPostgres implements AsyncDisposable {
  readonly name: string;

  private constructor(name: string) {
    this.name = name;
  }

  static async create(): Promise<TemporaryPostgres> {
    const name = `longshore_${randomUUID().replaceAll("-", "")}`;
    await administer(`create database ${name}`);
    return new TemporaryPostgres(name);
  }

  /** With parameters of libpq besides those of the cluster. */
  url(parameters: Readonly<Record<string, string>> = {}): string {
    const url = new URL(CLUSTER);
    url.pathname = `/${this.name}`;
    for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
    return url.href;
  }

  /** Runs a statement as another program would. */
  async run(statement: string): Promise<Record<string, unknown>[]> {
    const client = new Client({ connectionString: this.url() });
    await client.connect();
    try {
      return (await client.query<Record<string, unknown>>(statement)).rows;
    } finally {
      await client.end();
    }
  }

  /** Ends the connections of servers, as a crash of PostgreSQL or of the network would. */
  async cutConnections(): Promise<void> {
    await this.run(
      "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'longshore' and datname = current_database()",
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await administer(`drop database ${this.name} with (force)`);
  }
}

/** The server's stores on a database of their own. */
export async function openTemporaryPostgres(options: Partial<DatabaseOptions> = {}): Promise<Database> {
  await using stack = new AsyncDisposableStack();
  const postgres = stack.use(await TemporaryPostgres.create());
  const database = stack.use(await openDatabase({ ...options, url: postgres.url() }));
  const opened = stack.move();
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
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  };
}
