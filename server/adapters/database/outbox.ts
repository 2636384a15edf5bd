import type { Kysely } from "kysely";
import type { Busy, DeliveryQuery, Outbox } from "../../domain/ports/webhook-store.ts";
import type { Delivery, WebhookEndpoint } from "../../domain/webhook.ts";
import { toDomainError } from "./fault.ts";
import type { OutboxWriter } from "./outbox-writer.ts";
import type { Tables } from "./schema.ts";
import { fromDeliveryRow, toDeliveryRow, toEndpointRow } from "./webhook-row.ts";
import { giveUpWaiting } from "./webhook-store.ts";
import type { Writer } from "./writer.ts";

export class SqlOutbox implements Outbox {
  readonly #database: Kysely<Tables>;
  readonly #writer: Writer;
  readonly #added: OutboxWriter;

  constructor(database: Kysely<Tables>, writer: Writer, added: OutboxWriter) {
    this.#database = database;
    this.#writer = writer;
    this.#added = added;
  }

  onAdded(listener: () => void): () => void {
    return this.#added.onAdded(listener);
  }

  due(time: Date, { ids, targets, tenants }: Busy, limit: number): Promise<Delivery[]> {
    return this.#read("read what is to be delivered", async () => {
      const rows = await this.#database
        .selectFrom("delivery")
        .selectAll()
        .where("next_try_time", "<=", time.getTime())
        .$if(ids.length > 0, (query) => query.where("id", "not in", ids))
        .$if(targets.length > 0, (query) => query.where("target", "not in", targets))
        .$if(tenants.length > 0, (query) => query.where("tenant", "not in", tenants))
        .orderBy("next_try_time")
        .orderBy("id")
        .limit(limit)
        .execute();
      return rows.map(fromDeliveryRow);
    });
  }

  nextDueTime(time: Date): Promise<Date | null> {
    return this.#read("read when a delivery is due", async () => {
      const row = await this.#database
        .selectFrom("delivery")
        .select("next_try_time")
        .where("next_try_time", ">", time.getTime())
        .orderBy("next_try_time")
        .limit(1)
        .executeTakeFirst();
      return row?.next_try_time == null ? null : new Date(Number(row.next_try_time));
    });
  }

  find(id: string): Promise<Delivery | undefined> {
    return this.#read("find a delivery", async () => {
      const row = await this.#database
        .selectFrom("delivery")
        .selectAll()
        .where("id", "=", id)
        .executeTakeFirst();
      return row === undefined ? undefined : fromDeliveryRow(row);
    });
  }

  list({ tenant, endpointId, taskId, states, limit, after }: DeliveryQuery): Promise<Delivery[]> {
    return this.#read("list deliveries", async () => {
      const rows = await this.#database
        .selectFrom("delivery")
        .selectAll()
        .where("tenant", "=", tenant)
        .$if(endpointId !== "", (query) => query.where("endpoint_id", "=", endpointId))
        .$if(taskId !== "", (query) => query.where("task_id", "=", taskId))
        .$if(states.length > 0, (query) => query.where("state", "in", states))
        .$if(after !== null, (query) =>
          query.where(({ eb, and, or }) => {
            const time = after?.createTime.getTime() ?? 0;
            return or([
              eb("create_time", "<", time),
              and([eb("create_time", "=", time), eb("id", "<", after?.id ?? "")]),
            ]);
          }),
        )
        .orderBy("create_time", "desc")
        .orderBy("id", "desc")
        .limit(limit)
        .execute();
      return rows.map(fromDeliveryRow);
    });
  }

  async save(delivery: Delivery, endpoint: WebhookEndpoint | null): Promise<void> {
    try {
      await this.#writer.run(`write delivery ${delivery.id}`, async (connection) => {
        await connection
          .updateTable("delivery")
          .set(toDeliveryRow(delivery))
          .where("id", "=", delivery.id)
          .execute();
        if (endpoint === null) return;
        await connection
          .updateTable("webhook_endpoint")
          .set(toEndpointRow(endpoint))
          .where("id", "=", endpoint.id)
          .execute();
        if (endpoint.disableTime !== null)
          await giveUpWaiting(connection, endpoint.id, "its webhook was turned off");
      });
    } finally {
      if (endpoint !== null) this.#added.forget();
    }
    if (delivery.nextTryTime !== null) this.#added.tell();
  }

  removeBefore(time: Date, limit: number): Promise<number> {
    return this.#writer.run("remove old deliveries", async (connection) => {
      const { numDeletedRows } = await connection
        .deleteFrom("delivery")
        .where("id", "in", (query) =>
          query
            .selectFrom("delivery")
            .select("id")
            .where("next_try_time", "is", null)
            .where("create_time", "<", time.getTime())
            .limit(limit),
        )
        .executeTakeFirstOrThrow();
      return Number(numDeletedRows);
    });
  }

  async #read<T>(doing: string, read: () => Promise<T>): Promise<T> {
    try {
      return await read();
    } catch (error) {
      throw toDomainError(error, doing);
    }
  }
}
