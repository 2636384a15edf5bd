import { PostgresDialect, type PostgresPool } from "kysely";
import { Client, type ClientConfig } from "pg";
import { SystemFault, Unavailable } from "../../domain/errors.ts";
import { BorrowedClient, CONNECTION } from "./postgres-client.ts";

/** Names the lock among those that other programs may hold in the same database: "Longshor" in ASCII. */
const LOCK = 0x4c6f6e6773686f72n;
/** The oldest release whose behaviour was looked at. */
const OLDEST_VERSION = 130_000;

const RETRY_MILLIS = 1_000;

export interface PostgresSessionOptions {
  readonly config: ClientConfig;
  /** Another server has written to the database since: this one must not go on. */
  readonly onDeposed: (reason: string) => void;
}

/**
 * The one connection through which a server changes the database. It holds a lock that PostgreSQL gives back the moment the
 * connection ends, so that whoever has lost it cannot write any more, however it lost it: the lock is its own fence. Whether
 * another server has held it since is told by a number that each holder raises.
 */
export class PostgresSession implements AsyncDisposable {
  readonly #options: PostgresSessionOptions;
  #client: Client | undefined;
  #connecting: Promise<Client> | undefined;
  #term: string | undefined;
  #closed = false;
  #deposed = false;

  constructor(options: PostgresSessionOptions) {
    this.#options = options;
  }

  get databaseName(): string {
    return this.#options.config.database ?? "";
  }

  /** False where another server holds the lock. Throws SystemFault for a server that is too old. */
  async tryOpen(): Promise<boolean> {
    const client = await this.#connect();
    if (!(await lock(client))) {
      await end(client);
      return false;
    }
    this.#take(client);
    return true;
  }

  /** Once the tables are there: from now on a lost connection is taken up again only if nobody else wrote meanwhile. */
  async beginTerm(): Promise<void> {
    this.#term = await raiseTerm(await this.#held());
  }

  /** Binds the database to one data folder for good. Throws SystemFault where it belongs to another. */
  async claim(installationId: string): Promise<void> {
    const client = await this.#held();
    const { rowCount } = await client.query(
      "update server_term set installation = $1 where id = 1 and installation in ('', $1)",
      [installationId],
    );
    if (rowCount !== 1) {
      throw new SystemFault(
        "the database belongs to a server with another data folder, where the output of its tasks lies: give this one the same LONGSHORE_DATA_DIR, or a database of its own",
      );
    }
  }

  dialect(): PostgresDialect {
    const pool: PostgresPool = {
      options: {},
      connect: async () => new BorrowedClient(await this.#held()),
      end: async () => undefined,
    };
    return new PostgresDialect({ pool });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    const client = this.#client;
    this.#client = undefined;
    if (client !== undefined) await end(client);
  }

  async #held(): Promise<Client> {
    if (this.#client !== undefined) return this.#client;
    if (this.#closed) throw new Unavailable("the server is stopping; try again", RETRY_MILLIS);
    this.#connecting ??= this.#reopen().finally(() => {
      this.#connecting = undefined;
    });
    return await this.#connecting;
  }

  async #reopen(): Promise<Client> {
    if (this.#deposed) throw new Unavailable("another server has taken over; ask that one", RETRY_MILLIS);
    const client = await this.#connect();
    try {
      if (!(await lock(client))) throw this.#depose("another server holds the lock of the database");
      const term = await readTerm(client);
      if (term !== this.#term)
        throw this.#depose(`another server has held the lock meanwhile (term ${term})`);
    } catch (error) {
      await end(client);
      throw error;
    }
    this.#take(client);
    return client;
  }

  async #connect(): Promise<Client> {
    const client = new Client({ ...this.#options.config, ...CONNECTION });
    // Without a listener a connection that breaks would take the process with it; whoever uses it next learns of it.
    client.on("error", () => this.#lose(client));
    client.on("end", () => this.#lose(client));
    await client.connect();
    const { rows } = await client.query<{ version: number }>(
      "select current_setting('server_version_num')::int as version",
    );
    const version = rows[0]?.version ?? 0;
    if (version < OLDEST_VERSION) {
      await end(client);
      throw new SystemFault(
        `the database is PostgreSQL ${Math.floor(version / 10_000)}; version ${OLDEST_VERSION / 10_000} or newer is needed`,
      );
    }
    return client;
  }

  #take(client: Client): void {
    this.#client = client;
  }

  #lose(client: Client): void {
    if (this.#client === client) this.#client = undefined;
  }

  #depose(reason: string): Unavailable {
    this.#deposed = true;
    this.#options.onDeposed(reason);
    return new Unavailable(`${reason}: this server stops`, RETRY_MILLIS);
  }
}

async function lock(client: Client): Promise<boolean> {
  const { rows } = await client.query<{ locked: boolean }>("select pg_try_advisory_lock($1) as locked", [
    LOCK.toString(),
  ]);
  return rows[0]?.locked === true;
}

async function raiseTerm(client: Client): Promise<string> {
  const { rows } = await client.query<{ term: string }>(
    "insert into server_term (id, term, installation) values (1, 1, '') on conflict (id) do update set term = server_term.term + 1 returning term",
  );
  return String(rows[0]?.term);
}

async function readTerm(client: Client): Promise<string> {
  const { rows } = await client.query<{ term: string }>("select term from server_term where id = 1");
  return String(rows[0]?.term);
}

async function end(client: Client): Promise<void> {
  // A connection that broke already has nothing left to say goodbye to.
  await client.end().catch(() => undefined);
}
