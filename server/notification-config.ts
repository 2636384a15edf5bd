import { formatIpRange, type IpTarget, LOCAL_RANGES, overlap, parseIpRange } from "./domain/ip-range.ts";
import type { Values } from "./settings.ts";

/** How others are told of what becomes of tasks. */
export interface NotificationConfig {
  readonly webhooks: {
    readonly allowed: readonly IpTarget[];
    readonly allowHttp: boolean;
    /** PEM file; empty takes the usual authorities. */
    readonly caBundle: string;
    readonly timeoutMillis: number;
    readonly disableAfterMillis: number;
  };
}

const LOOPBACK = parseIpRange("127.0.0.0/8");

export function notificationProblems(v: Values): string[] {
  return v.LONGSHORE_WEBHOOK_ALLOW.filter(({ range }) =>
    LOCAL_RANGES.some((never) => overlap(never, range) && never.first !== LOOPBACK?.first),
  ).map(
    ({ range }) =>
      `LONGSHORE_WEBHOOK_ALLOW ${formatIpRange(range)} holds link-local (the clouds' metadata) or multicast addresses, which are never allowed`,
  );
}

export function toNotificationConfig(v: Values): NotificationConfig {
  return {
    webhooks: {
      allowed: v.LONGSHORE_WEBHOOK_ALLOW,
      allowHttp: v.LONGSHORE_WEBHOOK_HTTP,
      caBundle: v.LONGSHORE_WEBHOOK_CA_BUNDLE,
      timeoutMillis: v.LONGSHORE_WEBHOOK_TIMEOUT,
      disableAfterMillis: v.LONGSHORE_WEBHOOK_DISABLE_AFTER,
    },
  };
}
