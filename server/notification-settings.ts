import { duration, flag, path, setting, targets } from "./setting-readers.ts";

/** How others are told of what becomes of tasks. */
export const NOTIFICATION_SETTINGS = {
  LONGSHORE_WEBHOOK_ALLOW: setting(
    targets,
    "",
    "addresses that webhooks may go to although they are not public, such as 10.1.2.0/24 or 127.0.0.1:8080; link-local ones (the clouds' metadata) never",
  ),
  LONGSHORE_WEBHOOK_HTTP: setting(
    flag,
    "false",
    "whether webhooks may go to http addresses, which are not encrypted",
  ),
  LONGSHORE_WEBHOOK_CA_BUNDLE: setting(
    path,
    "",
    "PEM file of authorities that receivers' certificates are checked with, in place of the usual ones",
  ),
  LONGSHORE_WEBHOOK_TIMEOUT: setting(duration, "15s", "longest try of a delivery"),
  LONGSHORE_WEBHOOK_DISABLE_AFTER: setting(
    duration,
    "3d",
    "a webhook where nothing has arrived for so long is turned off",
  ),
} as const;
