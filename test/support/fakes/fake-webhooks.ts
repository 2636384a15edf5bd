import { InvalidRequest, NotFound } from "#server/domain/errors.ts";
import type { Delivery, WebhookEndpoint } from "#server/domain/webhook.ts";
import type { Caller, Checked, Webhooks } from "#server/transport/application.ts";

const TIME = new Date(1_700_000_000_000);

const DELIVERY: Omit<Delivery, "tenant"> = {
  id: "msg_1",
  endpointId: "webhook-1",
  url: "https://example.com/hook",
  taskId: "task-1",
  taskState: "SUCCEEDED",
  state: "FAILED",
  createTime: TIME,
  tries: 8,
  triesOfRound: 8,
  nextTryTime: null,
  lastTryTime: TIME,
  lastStatusCode: 503,
  lastError: "answered with status 503",
  lastResponse: "later",
  body: "{}",
};

/** One delivery that failed, and the endpoints that were made. */
export class FakeWebhooks implements Webhooks {
  readonly endpoints = new Map<string, WebhookEndpoint>();

  async create(caller: Caller, request: Parameters<Webhooks["create"]>[1]) {
    refuse([
      ...request.violations,
      ...(request.url === "" ? [{ field: "url", description: "is required" }] : []),
    ]);
    const { url, states, description } = request;
    const endpoint: WebhookEndpoint = {
      ...{ id: `webhook-${this.endpoints.size + 1}`, tenant: caller.tenant, url, states, description },
      ...{ createTime: TIME, createdBy: caller.subject },
      ...{ failingSince: TIME, disableTime: TIME, disableReason: "nothing has arrived" },
    };
    this.endpoints.set(endpoint.id, endpoint);
    return { endpoint, secret: "whsec_AAAA" };
  }

  async list(_caller: Caller, request: Checked) {
    refuse(request.violations);
    return { endpoints: [...this.endpoints.values()], nextPageToken: "" };
  }

  async delete(_caller: Caller, id: string): Promise<void> {
    if (!this.endpoints.delete(id)) throw new NotFound("webhook", id);
  }

  async rotate(_caller: Caller, request: Checked) {
    refuse(request.violations);
    return { secret: "whsec_BBBB", previousExpireTime: TIME };
  }

  async deliveries({ tenant }: Caller, request: Checked) {
    refuse(request.violations);
    return { deliveries: [{ ...DELIVERY, tenant }], nextPageToken: "" };
  }

  async redeliver({ tenant }: Caller, id: string): Promise<Delivery> {
    if (id !== DELIVERY.id) throw new NotFound("delivery", id);
    return { ...DELIVERY, tenant, state: "PENDING", nextTryTime: TIME };
  }
}

function refuse(violations: Checked["violations"]): void {
  if (violations.length > 0) throw new InvalidRequest(violations);
}
