import type { AuditEvent } from "#server/domain/audit.ts";
import type { Busy, DeliveryQuery, Outbox, WebhookStore } from "#server/domain/ports/webhook-store.ts";
import type { Task } from "#server/domain/task.ts";
import {
  type Delivery,
  deliveriesOf,
  type SigningSecrets,
  targetOf,
  type WebhookEndpoint,
} from "#server/domain/webhook.ts";
import type { MemoryAuditLog } from "./memory-access.ts";

const millis = (time: Date | null) => time?.getTime() ?? Number.POSITIVE_INFINITY;

export class MemoryOutbox implements Outbox {
  readonly endpoints = new Map<string, WebhookEndpoint>();
  readonly #deliveries = new Map<string, Delivery>();
  readonly #listeners = new Set<() => void>();

  /** As the task store does in the transaction of a state change. */
  add(task: Task, now: Date): void {
    const own = [...this.endpoints.values()].filter(({ tenant }) => tenant === task.tenant);
    const added = deliveriesOf(task, own, now);
    for (const delivery of added) this.#deliveries.set(delivery.id, delivery);
    if (added.length > 0) this.#tell();
  }

  giveUpWaiting(endpointId: string, why: string): void {
    for (const delivery of this.#deliveries.values()) {
      if (delivery.endpointId !== endpointId || delivery.nextTryTime === null) continue;
      this.#deliveries.set(delivery.id, {
        ...delivery,
        state: "FAILED",
        nextTryTime: null,
        lastError: why,
      });
    }
  }

  onAdded(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async due(time: Date, { ids, targets, tenants }: Busy, limit: number): Promise<Delivery[]> {
    return this.#waiting()
      .filter(({ nextTryTime }) => millis(nextTryTime) <= time.getTime())
      .filter((one) => !ids.includes(one.id) && !targets.includes(targetOf(one)))
      .filter(({ tenant }) => !tenants.includes(tenant))
      .slice(0, limit);
  }

  async nextDueTime(time: Date): Promise<Date | null> {
    return (
      this.#waiting().find(({ nextTryTime }) => millis(nextTryTime) > time.getTime())?.nextTryTime ?? null
    );
  }

  async find(id: string): Promise<Delivery | undefined> {
    return this.#deliveries.get(id);
  }

  async list({ tenant, endpointId, taskId, states, limit, after }: DeliveryQuery): Promise<Delivery[]> {
    return [...this.#deliveries.values()]
      .filter((one) => one.tenant === tenant)
      .filter((one) => endpointId === "" || one.endpointId === endpointId)
      .filter((one) => taskId === "" || one.taskId === taskId)
      .filter((one) => states.length === 0 || states.includes(one.state))
      .sort((a, b) => newest(a, b))
      .filter((one) => after === null || newest(after, one) < 0)
      .slice(0, limit);
  }

  async save(delivery: Delivery, endpoint: WebhookEndpoint | null): Promise<void> {
    if (this.#deliveries.has(delivery.id)) this.#deliveries.set(delivery.id, delivery);
    if (endpoint !== null && this.endpoints.has(endpoint.id)) {
      this.endpoints.set(endpoint.id, endpoint);
      if (endpoint.disableTime !== null) this.giveUpWaiting(endpoint.id, "its webhook was turned off");
    }
    if (delivery.nextTryTime !== null) this.#tell();
  }

  async removeBefore(time: Date, limit: number): Promise<number> {
    const old = [...this.#deliveries.values()]
      .filter(({ nextTryTime, createTime }) => nextTryTime === null && createTime < time)
      .slice(0, limit);
    for (const { id } of old) this.#deliveries.delete(id);
    return old.length;
  }

  #waiting(): Delivery[] {
    return [...this.#deliveries.values()]
      .filter(({ nextTryTime }) => nextTryTime !== null)
      .sort((a, b) => millis(a.nextTryTime) - millis(b.nextTryTime) || (a.id < b.id ? -1 : 1));
  }

  #tell(): void {
    for (const listener of this.#listeners) listener();
  }
}

function newest(a: Pick<Delivery, "createTime" | "id">, b: Pick<Delivery, "createTime" | "id">): number {
  return b.createTime.getTime() - a.createTime.getTime() || (a.id > b.id ? -1 : Number(a.id < b.id));
}

export class MemoryWebhookStore implements WebhookStore {
  readonly #outbox: MemoryOutbox;
  readonly #audit: MemoryAuditLog;
  readonly #secrets = new Map<string, SigningSecrets>();

  constructor(outbox: MemoryOutbox, audit: MemoryAuditLog) {
    this.#outbox = outbox;
    this.#audit = audit;
  }

  async insert(
    endpoint: WebhookEndpoint,
    event: AuditEvent,
    firstSecret: SigningSecrets | null,
  ): Promise<boolean> {
    if (this.#outbox.endpoints.has(endpoint.id)) throw new Error(`there is already a webhook ${endpoint.id}`);
    this.#outbox.endpoints.set(endpoint.id, endpoint);
    await this.#audit.append(event);
    if (firstSecret === null || this.#secrets.has(endpoint.tenant)) return false;
    this.#secrets.set(endpoint.tenant, firstSecret);
    return true;
  }

  async find(id: string): Promise<WebhookEndpoint | undefined> {
    return this.#outbox.endpoints.get(id);
  }

  async list({ tenant, afterId, limit }: Parameters<WebhookStore["list"]>[0]): Promise<WebhookEndpoint[]> {
    return [...this.#outbox.endpoints.values()]
      .filter((one) => one.tenant === tenant && (afterId === "" || one.id < afterId))
      .sort((a, b) => (a.id < b.id ? 1 : -1))
      .slice(0, limit);
  }

  async remove(id: string, event: AuditEvent): Promise<boolean> {
    if (!this.#outbox.endpoints.delete(id)) return false;
    this.#outbox.giveUpWaiting(id, "its webhook was deleted");
    await this.#audit.append(event);
    return true;
  }

  async secrets(tenant: string): Promise<SigningSecrets | undefined> {
    return this.#secrets.get(tenant);
  }

  async putSecrets(secrets: SigningSecrets, event: AuditEvent): Promise<void> {
    this.#secrets.set(secrets.tenant, secrets);
    await this.#audit.append(event);
  }
}
