import type { Kysely } from "kysely";
import type { AuditEvent } from "../../domain/audit.ts";
import type { WebhookStore } from "../../domain/ports/webhook-store.ts";
import type { SigningSecrets, WebhookEndpoint } from "../../domain/webhook.ts";
import { insertAudit } from "./audit-log.ts";
import { toDomainError } from "./fault.ts";
import type { OutboxWriter } from "./outbox-writer.ts";
import type { Tables } from "./schema.ts";
import { fromEndpointRow, fromSecretRow, toEndpointRow, toSecretRow } from "./webhook-row.ts";
import type { Writer } from "./writer.ts";

export class SqlWebhookStore implements WebhookStore {
  readonly #database: Kysely<Tables>;
  readonly #writer: Writer;
  readonly #outbox: OutboxWriter;

  constructor(database: Kysely<Tables>, writer: Writer, outbox: OutboxWriter) {
    this.#database = database;
    this.#writer = writer;
    this.#outbox = outbox;
  }

  async insert(
    endpoint: WebhookEndpoint,
    event: AuditEvent,
    firstSecret: SigningSecrets | null,
  ): Promise<boolean> {
    try {
      return await this.#writer.run(`insert webhook ${endpoint.id}`, async (connection) => {
        await connection.insertInto("webhook_endpoint").values(toEndpointRow(endpoint)).execute();
        await insertAudit(connection, event);
        if (firstSecret === null) return false;
        const { numInsertedOrUpdatedRows } = await connection
          .insertInto("webhook_secret")
          .values(toSecretRow(firstSecret))
          .onConflict((conflict) => conflict.doNothing())
          .executeTakeFirstOrThrow();
        return numInsertedOrUpdatedRows !== 0n;
      });
    } finally {
      this.#outbox.forget();
    }
  }

  async find(id: string): Promise<WebhookEndpoint | undefined> {
    try {
      const row = await this.#database
        .selectFrom("webhook_endpoint")
        .selectAll()
        .where("id", "=", id)
        .executeTakeFirst();
      return row === undefined ? undefined : fromEndpointRow(row);
    } catch (error) {
      throw toDomainError(error, "find a webhook");
    }
  }

  async list({ tenant, afterId, limit }: Parameters<WebhookStore["list"]>[0]): Promise<WebhookEndpoint[]> {
    try {
      const rows = await this.#database
        .selectFrom("webhook_endpoint")
        .selectAll()
        .where("tenant", "=", tenant)
        .$if(afterId !== "", (query) => query.where("id", "<", afterId))
        .orderBy("id", "desc")
        .limit(limit)
        .execute();
      return rows.map(fromEndpointRow);
    } catch (error) {
      throw toDomainError(error, "list webhooks");
    }
  }

  async remove(id: string, event: AuditEvent): Promise<boolean> {
    try {
      return await this.#writer.run(`remove webhook ${id}`, async (connection) => {
        const { numDeletedRows } = await connection
          .deleteFrom("webhook_endpoint")
          .where("id", "=", id)
          .executeTakeFirstOrThrow();
        if (numDeletedRows === 0n) return false;
        await giveUpWaiting(connection, id, "its webhook was deleted");
        await insertAudit(connection, event);
        return true;
      });
    } finally {
      this.#outbox.forget();
    }
  }

  async secrets(tenant: string): Promise<SigningSecrets | undefined> {
    try {
      const row = await this.#database
        .selectFrom("webhook_secret")
        .selectAll()
        .where("tenant", "=", tenant)
        .executeTakeFirst();
      return row === undefined ? undefined : fromSecretRow(row);
    } catch (error) {
      throw toDomainError(error, "read a webhook secret");
    }
  }

  putSecrets(secrets: SigningSecrets, event: AuditEvent): Promise<void> {
    const { tenant, ...changed } = toSecretRow(secrets);
    return this.#writer.run("write a webhook secret", async (connection) => {
      await connection
        .insertInto("webhook_secret")
        .values({ tenant, ...changed })
        .onConflict((conflict) => conflict.column("tenant").doUpdateSet(changed))
        .execute();
      await insertAudit(connection, event);
    });
  }
}

/** Nothing more is tried for an endpoint that is gone or turned off. */
export async function giveUpWaiting(
  connection: Kysely<Tables>,
  endpointId: string,
  why: string,
): Promise<void> {
  await connection
    .updateTable("delivery")
    .set({ state: "FAILED", next_try_time: null, last_error: why })
    .where("endpoint_id", "=", endpointId)
    .where("next_try_time", "is not", null)
    .execute();
}
