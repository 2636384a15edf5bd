import {
  type Delivery,
  Delivery_State,
  type WebhookEndpoint,
  WebhookServiceService,
} from "@longshore/proto/longshore/v1/webhook_service";
import type { CallOptions, Channel } from "./channel.ts";
import { InvalidRequest, LongshoreError } from "./errors.ts";
import type { StateName } from "./names.ts";
import { type DurationText, durationOption } from "./spec.ts";
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

/** A webhook; `secret` is the tenant's signing secret where this call made it, and is never shown again. */
export interface CreatedWebhook {
  readonly webhook: WebhookEndpoint;
  readonly secret: string;
}

/** A new signing secret, and until when the one before signs beside it. */
export interface RotatedSecret {
  readonly secret: string;
  readonly previousExpireTime: Date | undefined;
}

/** Who is told of what becomes of tasks: `client.webhooks`. */
export class Webhooks {
  readonly #channel: Channel;

  constructor(channel: Channel) {
    this.#channel = channel;
  }

  /** Every task of the tenant is told there; `secret` is set where this call made it, and is never shown again. */
  async create(options: CreateWebhookOptions): Promise<CreatedWebhook> {
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
  async *list(
    options: CallOptions & { readonly pageSize?: number } = {},
  ): AsyncGenerator<WebhookEndpoint, void, undefined> {
    const { pageSize = 0 } = options;
    let pageToken = "";
    do {
      const page = await this.#channel.unary(
        WebhookServiceService.listWebhooks,
        { pageSize, pageToken },
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
    options: CallOptions & { readonly overlap?: DurationText } = {},
  ): Promise<RotatedSecret> {
    const request = { overlap: durationOption("overlap", options.overlap) };
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
