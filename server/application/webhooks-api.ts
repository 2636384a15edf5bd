import type { TaskState } from "#server/domain/task.ts";
import type { Delivery, DeliveryState, WebhookEndpoint } from "#server/domain/webhook.ts";
import type { Caller, Checked } from "./caller.ts";

export interface WebhookRequest extends Checked {
  readonly url: string;
  /** Empty means the terminal ones. */
  readonly states: readonly TaskState[];
  readonly description: string;
}

export interface WebhookListRequest extends Checked {
  /** From 1 to 1000. */
  readonly pageSize: number;
  readonly pageToken: string;
}

export interface DeliveryListRequest extends WebhookListRequest {
  /** Empty means all; so it is with the others. */
  readonly webhookId: string;
  readonly taskId: string;
  readonly states: readonly DeliveryState[];
}

export interface RotateRequest extends Checked {
  /** Null takes the default. */
  readonly overlapMillis: number | null;
}

/** Who is told of what becomes of tasks. */
export interface Webhooks {
  /** `secret` is empty unless this call made it. */
  create(
    caller: Caller,
    request: WebhookRequest,
  ): Promise<{ readonly endpoint: WebhookEndpoint; readonly secret: string }>;
  list(
    caller: Caller,
    request: WebhookListRequest,
  ): Promise<{ readonly endpoints: readonly WebhookEndpoint[]; readonly nextPageToken: string }>;
  delete(caller: Caller, id: string): Promise<void>;
  rotate(
    caller: Caller,
    request: RotateRequest,
  ): Promise<{ readonly secret: string; readonly previousExpireTime: Date | null }>;
  deliveries(
    caller: Caller,
    request: DeliveryListRequest,
  ): Promise<{ readonly deliveries: readonly Delivery[]; readonly nextPageToken: string }>;
  redeliver(caller: Caller, id: string): Promise<Delivery>;
}
