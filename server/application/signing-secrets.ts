import { randomBytes } from "node:crypto";
import type { SecretBox } from "../domain/ports/secret-box.ts";
import type { SigningSecrets } from "../domain/webhook.ts";

/** What Standard Webhooks asks for: 24 to 64 bytes. */
const SECRET_BYTES = 32;

/** The prefix by which libraries and people know it. */
export function newSigningSecret(): string {
  return `whsec_${randomBytes(SECRET_BYTES).toString("base64")}`;
}

export function sealSecret(box: SecretBox, tenant: string, secret: string): string {
  return box.seal(nameOf(tenant), secret);
}

/** Those that sign now, the present one first. */
export function openSecrets(box: SecretBox, secrets: SigningSecrets, now: Date): string[] {
  const { tenant, current, previous, previousExpireTime } = secrets;
  const both = previous !== "" && previousExpireTime !== null && now < previousExpireTime;
  return (both ? [current, previous] : [current]).map((sealed) => box.open(nameOf(tenant), sealed));
}

function nameOf(tenant: string): string {
  return `webhook of ${tenant}`;
}
