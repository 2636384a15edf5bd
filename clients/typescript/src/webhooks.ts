import {
  type Delivery,
  Delivery_State,
  type WebhookEndpoint,
  WebhookServiceService,
} from "@longshore/proto/longshore/v1/webhook_service";
import type { CallOptions, Channel } from "./channel.ts";
import { millisToDuration, parseDuration } from "./duration.ts";
import { InvalidRequest, LongshoreError } from "./errors.ts";
import type { StateName } from "./names.ts";
import { statesOf } from "./states.ts";

export type { Delivery as DeliveryRecord, WebhookEndpoint as WebhookRecord };

const DELIVERY_STATES = {
  pending: Delivery_State.PENDING,
  delivered: Delivery_State.DELIVERED,
  failed: Delivery_State.FAILED,
} as const;
export type DeliveryStateName = keyof typeof DELIVERY_STATES;

export interface CreateWebhookOptions extends CallOptions {
  /** "https://..." or, where the server sends mail, "mailto:NAME@DOMAIN". */
  readonly url: string;
  /** The terminal ones when left out. */
  readonly states?: readonly StateName[];
  readonly description?: string;
}

export interface DeliveriesOptions extends CallOptions {
  readonly webhookId?: string;
  readonly taskId?: string;
  readonly states?: readonly DeliveryStateName[];
  readonly pageSize?: number;
}

/** Who is told of what becomes of tasks: `client.webhooks`. */
export class Webhooks {
  readonly #channel: Channel;

  constructor(channel: Channel) {
    this.#channel = channel;
  }

  /** Every task of the tenant is told there; `secret` is set where this call made it, and is never shown again. */
  async create(
    options: CreateWebhookOptions,
  ): Promise<{ readonly webhook: WebhookEndpoint; readonly secret: string }> {
    const { url, states = [], description = "" } = options;
    const request = { url, states: statesOf(states), description };
    // Not repeated by itself: the secret of a lost answer would be known to nobody.
    const answer = await this.#channel.unary(WebhookServiceService.createWebhook, request, {
      ...options,
      retry: false,
    });
    return { webhook: present(answer.webhook), secret: answer.secret };
  }

  /** Newest first, page after page for as long as the loop reads on. */
  async *list(options: CallOptions = {}): AsyncGenerator<WebhookEndpoint, void, undefined> {
    let pageToken = "";
    do {
      const page = await this.#channel.unary(
        WebhookServiceService.listWebhooks,
        { pageSize: 0, pageToken },
        { ...options, retry: true },
      );
      yield* page.webhooks;
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
  }

  async delete(id: string, options: CallOptions = {}): Promise<void> {
    await this.#channel.unary(WebhookServiceService.deleteWebhook, { id }, { ...options, retry: false });
  }

  /** A new signing secret. For `overlap` (such as "24h", the server's default) the one before signs, too. */
  async rotateSecret(
    options: CallOptions & { readonly overlap?: string } = {},
  ): Promise<{ readonly secret: string; readonly previousExpireTime: Date | undefined }> {
    const overlap = options.overlap === undefined ? undefined : parseDuration(options.overlap);
    if (options.overlap !== undefined && overlap === undefined) {
      const description = `"${options.overlap}" is not a duration such as 0s or 24h`;
      throw new InvalidRequest([{ field: "overlap", description }]);
    }
    const request = { overlap: overlap === undefined ? undefined : millisToDuration(overlap) };
    return await this.#channel.unary(WebhookServiceService.rotateWebhookSecret, request, {
      ...options,
      retry: false,
    });
  }

  /** What was sent and what is still to be, newest first, page after page for as long as the loop reads on. */
  async *deliveries(options: DeliveriesOptions = {}): AsyncGenerator<Delivery, void, undefined> {
    const { webhookId = "", taskId = "", pageSize = 0 } = options;
    const states = (options.states ?? []).map(deliveryState);
    let pageToken = "";
    do {
      const request = { webhookId, taskId, states, pageSize, pageToken };
      const page = await this.#channel.unary(WebhookServiceService.listDeliveries, request, {
        ...options,
        retry: true,
      });
      yield* page.deliveries;
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
  }

  /** Sends one again, at once, whatever became of it. */
  async redeliver(id: string, options: CallOptions = {}): Promise<Delivery> {
    const answer = await this.#channel.unary(
      WebhookServiceService.redeliver,
      { id },
      { ...options, retry: true },
    );
    return present(answer.delivery);
  }
}

/** "pending", "delivered" or "failed"; a state of a newer server reads as its number. */
export function deliveryStateName(state: Delivery_State): string {
  return Object.entries(DELIVERY_STATES).find(([, value]) => value === state)?.[0] ?? String(state);
}

function deliveryState(name: string): Delivery_State {
  const found = Object.entries(DELIVERY_STATES).find(([known]) => known === name.toLowerCase());
  if (found !== undefined) return found[1];
  const description = `"${name}" is not one of ${Object.keys(DELIVERY_STATES).join(", ")}`;
  throw new InvalidRequest([{ field: "states", description }]);
}

function present<T>(record: T | undefined): T {
  if (record !== undefined) return record;
  throw new LongshoreError("the server answered without a record", { code: "INTERNAL" });
}
