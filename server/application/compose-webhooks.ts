import type { DeliveryChannel } from "../domain/ports/delivery-channel.ts";
import type { Metrics } from "../domain/ports/metrics.ts";
import type { SecretBox } from "../domain/ports/secret-box.ts";
import type { Log } from "../domain/ports/telemetry.ts";
import type { Outbox, WebhookStore } from "../domain/ports/webhook-store.ts";
import type { AuditEvents } from "./audit-event.ts";
import type { DeliverySchedule } from "./delivery-schedule.ts";
import { DispatchDeliveries } from "./dispatch-deliveries.ts";
import type { NewId } from "./identity.ts";
import { ManageWebhooks } from "./manage-webhooks.ts";

const REMOVED_AT_ONCE = 500;

/** How others are told of tasks; server/main.ts chooses it. */
export interface WebhookParts {
  readonly store: WebhookStore;
  readonly outbox: Outbox;
  /** By the protocol of the address: "https:", "mailto:". */
  readonly channels: ReadonlyMap<string, DeliveryChannel>;
  readonly schedule: DeliverySchedule;
}

export interface ComposedWebhooks {
  readonly manage: ManageWebhooks;
  readonly dispatch: DispatchDeliveries;
  /** Removes the log of what was sent before. */
  removeBefore(time: Date): Promise<void>;
}

export function composeWebhooks(
  parts: WebhookParts,
  shared: {
    readonly secretBox: SecretBox;
    readonly events: AuditEvents;
    readonly metrics: Metrics;
    readonly log: Log;
    readonly clock: () => Date;
    readonly newId: NewId;
  },
): ComposedWebhooks {
  const { outbox, channels } = parts;
  const problemOf = (url: string) => {
    if (!URL.canParse(url)) return "is no address; give one such as https://example.com/hook";
    const channel = channels.get(new URL(url).protocol);
    if (channel !== undefined) return channel.problem(url);
    return `is none that this server sends to; it must begin with ${[...channels.keys()].join(" or ")}`;
  };
  return {
    manage: new ManageWebhooks({ ...parts, ...shared, problemOf }),
    dispatch: new DispatchDeliveries({ ...parts, ...shared }),
    removeBefore: async (time) => {
      while ((await outbox.removeBefore(time, REMOVED_AT_ONCE)) === REMOVED_AT_ONCE);
    },
  };
}
