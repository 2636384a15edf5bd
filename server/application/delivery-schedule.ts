import type { Answer } from "../domain/ports/delivery-channel.ts";
import type { Delivery, WebhookEndpoint } from "../domain/webhook.ts";

/** When a delivery is tried again, and when an endpoint is turned off. */
export interface DeliverySchedule {
  /** Before the second try, the third and so on; after as many the delivery is given up. */
  readonly pausesMillis: readonly number[];
  /** An endpoint where nothing has arrived for so long is turned off. */
  readonly disableAfterMillis: number;
}

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;

/** Eight tries within nine hours: a receiver may be away for a night. */
export const DEFAULT_PAUSES_MILLIS: readonly number[] = [
  ...[5 * SECOND, 30 * SECOND, 2 * MINUTE, 10 * MINUTE, 30 * MINUTE, 2 * HOUR, 6 * HOUR],
];

/** Each pause is up to a fifth shorter or longer, so that what failed together does not come back together. */
const JITTER = 0.2;

export interface Tried {
  readonly delivery: Delivery;
  /** Null where nothing changed for it. */
  readonly endpoint: WebhookEndpoint | null;
}

/** What a try makes of a delivery and of its endpoint. `random` is from 0 to 1. */
export function afterTry(
  delivery: Delivery,
  endpoint: WebhookEndpoint | null,
  answer: Answer,
  schedule: DeliverySchedule,
  now: Date,
  random: number,
): Tried {
  const { statusCode, error, response, gone, retryAfterMillis } = answer;
  const tried: Delivery = {
    ...delivery,
    tries: delivery.tries + 1,
    triesOfRound: delivery.triesOfRound + 1,
    lastTryTime: now,
    lastStatusCode: statusCode,
    lastError: error,
    lastResponse: response,
  };
  if (error === "") {
    const wasFailing = endpoint !== null && (endpoint.failingSince !== null || endpoint.disableTime !== null);
    return {
      delivery: { ...tried, state: "DELIVERED", nextTryTime: null },
      endpoint: wasFailing ? { ...endpoint, failingSince: null, disableTime: null, disableReason: "" } : null,
    };
  }
  const pause = schedule.pausesMillis[delivery.triesOfRound];
  const isOver = gone || pause === undefined;
  const wait = Math.max((pause ?? 0) * (1 + JITTER * (2 * random - 1)), retryAfterMillis ?? 0);
  return {
    delivery: isOver
      ? { ...tried, state: "FAILED", nextTryTime: null }
      : { ...tried, nextTryTime: new Date(now.getTime() + wait) },
    endpoint: endpoint && afterFailure(endpoint, answer, isOver, schedule, now),
  };
}

function afterFailure(
  endpoint: WebhookEndpoint,
  { error, gone }: Answer,
  isOver: boolean,
  { disableAfterMillis }: DeliverySchedule,
  now: Date,
): WebhookEndpoint | null {
  if (endpoint.disableTime !== null) return null;
  const failingSince = endpoint.failingSince ?? now;
  const isLong = isOver && now.getTime() - failingSince.getTime() >= disableAfterMillis;
  if (gone || isLong) {
    const why = gone
      ? "the receiver answered 410 Gone"
      : `nothing has arrived since ${failingSince.toISOString()}; last: ${error}`;
    const advice = "delete it, or mend the receiver and redeliver something, which turns it on again";
    return { ...endpoint, failingSince, disableTime: now, disableReason: `${why}; ${advice}` };
  }
  return endpoint.failingSince === null ? { ...endpoint, failingSince } : null;
}
