import {
  type FieldViolation,
  InvalidRequest,
  NotFound,
  QuotaExceeded,
  WrongState,
} from "../domain/errors.ts";
import type { SecretBox } from "../domain/ports/secret-box.ts";
import type { Outbox, WebhookStore } from "../domain/ports/webhook-store.ts";
import { nameProblem } from "../domain/principal.ts";
import type { TaskSpec } from "../domain/task.ts";
import {
  checkTaskWebhooks,
  type Delivery,
  isSigned,
  type SigningSecrets,
  type WebhookEndpoint,
} from "../domain/webhook.ts";
import type { AuditEvents } from "./audit-event.ts";
import type { Caller } from "./caller.ts";
import type { NewId } from "./identity.ts";
import { decodePageToken, encodePageToken } from "./page-token.ts";
import { newSigningSecret, sealSecret } from "./signing-secrets.ts";
import type {
  DeliveryListRequest,
  RotateRequest,
  WebhookListRequest,
  WebhookRequest,
  Webhooks,
} from "./webhooks-api.ts";

const MAX_WEBHOOKS = 20;
const DAY_MILLIS = 86_400_000;
const DEFAULT_OVERLAP_MILLIS = DAY_MILLIS;
const MAX_OVERLAP_MILLIS = 30 * DAY_MILLIS;

export interface ManageWebhooksDeps {
  readonly store: WebhookStore;
  readonly outbox: Outbox;
  readonly secretBox: SecretBox;
  readonly events: AuditEvents;
  /** What is wrong with an address by its form; undefined when nothing is. */
  readonly problemOf: (url: string) => string | undefined;
  readonly clock: () => Date;
  readonly newId: NewId;
}

/** Makes, lists and deletes the addresses of a tenant and what they are signed with; shows what was sent. */
export class ManageWebhooks implements Webhooks {
  readonly #deps: ManageWebhooksDeps;
  /** One change after the other: of two at once, one would count or replace what the other is about to. */
  #tail: Promise<unknown> = Promise.resolve();

  constructor(deps: ManageWebhooksDeps) {
    this.#deps = deps;
  }

  async create(
    caller: Caller,
    request: WebhookRequest,
  ): Promise<{ endpoint: WebhookEndpoint; secret: string }> {
    const violations = [...request.violations];
    const say = (field: string, description: string | undefined) => {
      if (description !== undefined) violations.push({ field, description });
    };
    say("url", request.url === "" ? "is required" : this.#deps.problemOf(request.url));
    say("description", nameProblem(request.description));
    if (violations.length > 0) throw new InvalidRequest(violations);
    return await this.#inTurn(() => this.#create(caller, request));
  }

  async list(
    { tenant }: Caller,
    { pageSize, pageToken, violations }: WebhookListRequest,
  ): Promise<{ endpoints: WebhookEndpoint[]; nextPageToken: string }> {
    const conditions = "webhooks";
    const afterId = decodePageToken(pageToken, conditions, violations);
    const found = await this.#deps.store.list({ tenant, afterId, limit: pageSize + 1 });
    const endpoints = found.slice(0, pageSize);
    const last = endpoints.at(-1);
    const more = found.length > pageSize && last !== undefined;
    return { endpoints, nextPageToken: more ? encodePageToken(last.id, conditions) : "" };
  }

  async delete(caller: Caller, id: string): Promise<void> {
    const { store, events } = this.#deps;
    const endpoint = await store.find(id);
    const event = events.of(caller, "webhook.delete", id, { detail: endpoint?.url ?? "" });
    if (endpoint?.tenant !== caller.tenant || !(await store.remove(id, event)))
      throw new NotFound("webhook", id.slice(0, 100), "see longshore webhook list");
  }

  async rotate(
    caller: Caller,
    { overlapMillis, violations: wrong }: RotateRequest,
  ): Promise<{ secret: string; previousExpireTime: Date | null }> {
    const violations = [...wrong];
    const overlap = overlapMillis ?? DEFAULT_OVERLAP_MILLIS;
    if (overlap > MAX_OVERLAP_MILLIS) {
      const description = `is longer than ${MAX_OVERLAP_MILLIS / DAY_MILLIS} days`;
      violations.push({ field: "overlap", description });
    }
    if (violations.length > 0) throw new InvalidRequest(violations);
    return await this.#inTurn(async () => {
      const { store, events, clock } = this.#deps;
      const before = await store.secrets(caller.tenant);
      const made = this.#newSecrets(caller.tenant);
      const previousExpireTime =
        before === undefined || overlap === 0 ? null : new Date(clock().getTime() + overlap);
      const previous = previousExpireTime === null ? "" : (before?.current ?? "");
      const detail = previousExpireTime === null ? "" : `old one until ${previousExpireTime.toISOString()}`;
      const event = events.of(caller, "webhook.rotate", caller.tenant, { detail });
      await store.putSecrets({ ...made.sealed, previous, previousExpireTime }, event);
      return { secret: made.secret, previousExpireTime };
    });
  }

  async deliveries(
    { tenant }: Caller,
    request: DeliveryListRequest,
  ): Promise<{ deliveries: Delivery[]; nextPageToken: string }> {
    const { webhookId: endpointId, taskId, states, pageSize, pageToken, violations } = request;
    const conditions = { endpointId, taskId, states };
    const from = decodePageToken(pageToken, conditions, violations);
    const after = from === "" ? null : placeOf(from);
    const limit = pageSize + 1;
    const found = await this.#deps.outbox.list({ tenant, endpointId, taskId, states, limit, after });
    const deliveries = found.slice(0, pageSize);
    const last = deliveries.at(-1);
    const more = found.length > pageSize && last !== undefined;
    const next = more ? `${last.createTime.getTime()} ${last.id}` : "";
    return { deliveries, nextPageToken: more ? encodePageToken(next, conditions) : "" };
  }

  async redeliver({ tenant }: Caller, id: string): Promise<Delivery> {
    const { store, outbox, clock } = this.#deps;
    const delivery = await outbox.find(id);
    if (delivery?.tenant !== tenant)
      throw new NotFound("delivery", id.slice(0, 200), "see longshore webhook deliveries");
    if (delivery.endpointId !== "" && (await store.find(delivery.endpointId)) === undefined)
      throw new WrongState(
        `webhook ${delivery.endpointId} was deleted; deliveries made before cannot be sent any more`,
        delivery.state,
      );
    const again: Delivery = { ...delivery, state: "PENDING", triesOfRound: 0, nextTryTime: clock() };
    await outbox.save(again, null);
    return again;
  }

  /** What the form of a spec alone shows. */
  checkForm(spec: TaskSpec, violations: FieldViolation[]): void {
    checkTaskWebhooks(spec, this.#deps.problemOf, violations);
  }

  /** Nobody could check what is signed with a secret that was never shown to anybody, so that a task makes none. */
  async check(tenant: string, spec: TaskSpec, violations: FieldViolation[]): Promise<void> {
    this.checkForm(spec, violations);
    if (!spec.webhooks.some(({ url }) => isSigned(url))) return;
    if ((await this.#deps.store.secrets(tenant)) !== undefined) return;
    const description =
      "need a signing secret, which this tenant does not have yet; make one with longshore webhook rotate (RotateWebhookSecret, scope admin)";
    violations.push({ field: "webhooks", description });
  }

  async #create(
    caller: Caller,
    request: WebhookRequest,
  ): Promise<{ endpoint: WebhookEndpoint; secret: string }> {
    const { store, events, clock, newId } = this.#deps;
    const { tenant } = caller;
    const { length } = await store.list({ tenant, afterId: "", limit: MAX_WEBHOOKS });
    if (length === MAX_WEBHOOKS) {
      throw new QuotaExceeded(
        "webhooks",
        `there are ${MAX_WEBHOOKS} webhooks, the most that a tenant may have; delete one first`,
        { used: String(MAX_WEBHOOKS), allowed: String(MAX_WEBHOOKS) },
      );
    }
    const { url, description } = request;
    const endpoint: WebhookEndpoint = {
      id: newId().toLowerCase(),
      tenant,
      url,
      states: [...new Set(request.states)],
      description,
      createTime: clock(),
      createdBy: caller.subject,
      failingSince: null,
      disableTime: null,
      disableReason: "",
    };
    const made = isSigned(url) ? this.#newSecrets(tenant) : null;
    const event = events.of(caller, "webhook.create", endpoint.id, { detail: url });
    const taken = await store.insert(endpoint, event, made?.sealed ?? null);
    return { endpoint, secret: taken ? (made?.secret ?? "") : "" };
  }

  #newSecrets(tenant: string): { readonly secret: string; readonly sealed: SigningSecrets } {
    const { secretBox, clock } = this.#deps;
    const secret = newSigningSecret();
    const current = sealSecret(secretBox, tenant, secret);
    const sealed = { tenant, current, createTime: clock(), previous: "", previousExpireTime: null };
    return { secret, sealed };
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#tail.then(work);
    // The next one comes after this one whether or not it succeeds; its caller gets the error.
    this.#tail = turn.catch(() => undefined);
    return turn;
  }
}

/** Of a page token that this server made. */
function placeOf(text: string): Pick<Delivery, "createTime" | "id"> {
  const [millis = "", id = ""] = text.split(" ");
  return { createTime: new Date(Number(millis)), id };
}
