import querystring from "node:querystring";
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
  /** Null sends no mail. */
  readonly mail: {
    readonly host: string;
    readonly port: number;
    readonly secure: boolean;
    readonly auth: { readonly user: string; readonly pass: string } | null;
    readonly from: string;
    readonly domains: readonly string[];
    readonly timeoutMillis: number;
  } | null;
}

const SMTP_PORT = 587;
const SMTPS_PORT = 465;

const LOOPBACK = parseIpRange("127.0.0.0/8");

export function notificationProblems(v: Values): string[] {
  const problems = v.LONGSHORE_WEBHOOK_ALLOW.filter(({ range }) =>
    LOCAL_RANGES.some((never) => overlap(never, range) && never.first !== LOOPBACK?.first),
  ).map(
    ({ range }) =>
      `LONGSHORE_WEBHOOK_ALLOW ${formatIpRange(range)} holds link-local (the clouds' metadata) or multicast addresses, which are never allowed`,
  );
  const { LONGSHORE_SMTP_URL: url, LONGSHORE_SMTP_FROM: from, LONGSHORE_SMTP_DOMAINS: domains } = v;
  if (url === "" && (from !== "" || domains.length > 0))
    problems.push("LONGSHORE_SMTP_FROM and LONGSHORE_SMTP_DOMAINS mean nothing without LONGSHORE_SMTP_URL");
  if (url !== "" && from === "") problems.push("LONGSHORE_SMTP_URL needs a sender; set LONGSHORE_SMTP_FROM");
  if (url !== "" && domains.length === 0)
    problems.push("LONGSHORE_SMTP_URL needs domains that mails may go to; set LONGSHORE_SMTP_DOMAINS");
  return problems;
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
    mail: v.LONGSHORE_SMTP_URL === "" ? null : mailOf(v),
  };
}

function mailOf(v: Values): NotificationConfig["mail"] {
  const { protocol, hostname, port, username, password } = new URL(v.LONGSHORE_SMTP_URL);
  const secure = protocol === "smtps:";
  return {
    host: hostname.replace(/^\[(.*)\]$/, "$1"),
    port: port === "" ? (secure ? SMTPS_PORT : SMTP_PORT) : Number(port),
    secure,
    auth:
      username === "" ? null : { user: querystring.unescape(username), pass: querystring.unescape(password) },
    from: v.LONGSHORE_SMTP_FROM,
    domains: v.LONGSHORE_SMTP_DOMAINS,
    timeoutMillis: v.LONGSHORE_WEBHOOK_TIMEOUT,
  };
}
