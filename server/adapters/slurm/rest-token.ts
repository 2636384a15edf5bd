import { readFile } from "node:fs/promises";
import { z } from "zod";
import { Unavailable } from "../../domain/errors.ts";

const JWT = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*$/;
const RENEW = "write a new one there, as of scontrol token lifespan=SECONDS";
const claims = z.object({ exp: z.number().optional() });

/**
 * The token that proves who asks slurmrestd, as the operator's file has it now: tokens are short-lived, and whatever renews them
 * tells nobody. Throws Unavailable where it holds none that could be taken; the token itself is in no error.
 */
export async function readRestToken(path: string, now: Date): Promise<string> {
  const text = await readFile(path, "utf8").catch((cause: unknown) => {
    throw new Unavailable(`the file of slurmrestd's token cannot be read: ${String(cause)}`, 1000, { cause });
  });
  // As scontrol prints it, or the token alone.
  const token = text.trim().replace(/^SLURM_JWT=/, "");
  if (!JWT.test(token)) throw new Unavailable(`${path} holds no JSON web token for slurmrestd; ${RENEW}`);
  const expiry = expiryOf(token);
  // slurmrestd does not look at it, and what it then says of the controller's refusal names no reason.
  if (expiry !== undefined && expiry <= now)
    throw new Unavailable(`slurmrestd's token in ${path} expired at ${expiry.toISOString()}; ${RENEW}`);
  return token;
}

/** Undefined where it does not say, or in no way that can be read here: its issuer knows best. */
function expiryOf(token: string): Date | undefined {
  try {
    const { exp } = claims.parse(JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString()));
    return exp === undefined ? undefined : new Date(exp * 1000);
  } catch {
    // Not ours to refuse.
    return undefined;
  }
}
