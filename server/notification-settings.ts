import { z } from "zod";
import { duration, flag, list, path, setting, targets } from "./setting-readers.ts";

function isMailServer(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, hostname } = new URL(text);
  return (protocol === "smtp:" || protocol === "smtps:") && hostname !== "";
}

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
  LONGSHORE_SMTP_URL: setting(
    z
      .string()
      .refine(
        (text) => text === "" || isMailServer(text),
        "is not an address such as smtp://user:password@mail.example.com:587",
      ),
    "",
    "mail server for mailto: addresses, smtp:// (STARTTLS, demanded where a password is sent) or smtps://; may hold a user and password, which are never recorded or logged; empty sends no mail",
  ),
  LONGSHORE_SMTP_FROM: setting(
    z.string().regex(/^$|^[^\s@]+@[^\s@]+$/, "is no mail address"),
    "",
    "sender of these mails, such as longshore@example.com",
  ),
  LONGSHORE_SMTP_DOMAINS: setting(
    list,
    "",
    "domains that mails may go to, separated by commas; * means any, which lets every tenant send mail to anybody",
  ),
} as const;
