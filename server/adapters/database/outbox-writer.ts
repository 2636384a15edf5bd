import type { Kysely } from "kysely";
import type { Task } from "../../domain/task.ts";
import { deliveriesOf, type WebhookEndpoint } from "../../domain/webhook.ts";
import type { Tables } from "./schema.ts";
import { fromEndpointRow, toDeliveryRow } from "./webhook-row.ts";

/**
 * Writes what is to be sent into the transaction of a state change. Every task of every tenant comes by here, so that the endpoints are
 * kept in memory: this process alone writes them. After a change of theirs, whatever became of it, they are read again.
 */
export class OutboxWriter {
  readonly #listeners = new Set<() => void>();
  #endpoints: ReadonlyMap<string, readonly WebhookEndpoint[]> | null = null;

  /** Answers whether there was anything to send. */
  async add(connection: Kysely<Tables>, task: Task, now: Date): Promise<boolean> {
    this.#endpoints ??= await readEndpoints(connection);
    const endpoints = this.#endpoints.get(task.tenant) ?? [];
    if (endpoints.length === 0 && task.spec.webhooks.length === 0) return false;
    const rows = deliveriesOf(task, endpoints, now).map(toDeliveryRow);
    if (rows.length === 0) return false;
    await connection.insertInto("delivery").values(rows).execute();
    return true;
  }

  /** The endpoints may be others now. */
  forget(): void {
    this.#endpoints = null;
  }

  /** Something was added and committed. */
  tell(): void {
    for (const listener of this.#listeners) listener();
  }

  onAdded(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

async function readEndpoints(connection: Kysely<Tables>): Promise<Map<string, WebhookEndpoint[]>> {
  const rows = await connection.selectFrom("webhook_endpoint").selectAll().orderBy("id").execute();
  return Map.groupBy(rows.map(fromEndpointRow), ({ tenant }) => tenant);
}
