import type { PostgresPool, PostgresPoolClient } from "kysely";
import { type ClientBase, type ClientConfig, Pool } from "pg";

/** Of every connection. A peer that has vanished without a word is noticed by probes of the socket. */
export const CONNECTION = {
  application_name: "longshore",
  connectionTimeoutMillis: 10_000,
  keepAlive: true,
  keepAliveInitialDelayMillis: 5_000,
} as const satisfies ClientConfig;

const IDLE_MILLIS = 60_000;

/** A connection as Kysely uses it. */
export class BorrowedClient implements PostgresPoolClient {
  readonly query: PostgresPoolClient["query"];
  readonly #giveBack: () => void;

  constructor(client: ClientBase, giveBack: () => void = () => undefined) {
    const query = (text: string, parameters: readonly unknown[] = []) =>
      client.query(text, parameters.map(withoutNul));
    // The other form that Kysely declares, with a cursor, is never called where it was given no cursor class.
    this.query = query as unknown as PostgresPoolClient["query"];
    this.#giveBack = giveBack;
  }

  release(): void {
    this.#giveBack();
  }
}

/** Connections for what only reads. */
export class ReaderPool implements PostgresPool {
  readonly options = {};
  readonly #pool: Pool;

  constructor(config: ClientConfig, max: number) {
    this.#pool = new Pool({ ...config, ...CONNECTION, max, idleTimeoutMillis: IDLE_MILLIS });
    this.#pool.on("error", () => {
      // An idle connection that breaks is replaced at the next use, which tells of the trouble if it lasts.
    });
    // The pool drops its own listener while a connection is lent, and a break would take the process with it.
    this.#pool.on("connect", (client) => client.on("error", () => undefined));
  }

  async connect(): Promise<PostgresPoolClient> {
    const client = await this.#pool.connect();
    return new BorrowedClient(client, () => client.release());
  }

  end(): Promise<void> {
    return this.#pool.end();
  }
}

/** PostgreSQL's texts hold no NUL character: a hostile one, in a note or a name, becomes the sign for what cannot be shown. */
function withoutNul(value: unknown): unknown {
  return typeof value === "string" && value.includes("\0") ? value.replaceAll("\0", "\uFFFD") : value;
}
