import type { Principal, Scope } from "./principal.ts";

/** A bearer token as it is kept: everything but its secret. */
export interface AccessToken {
  /** Shown in the token itself, so that one row is looked up by its key and a found token can be revoked by whoever finds it. */
  readonly id: string;
  /**
   * SHA-256 of the secret, lower-case hex. Plain and fast is right here: the secret is 256 random bits, so there is nothing to guess
   * that salt or a slow hash would make dearer, and every call pays for the check.
   */
  readonly secretDigest: string;
  readonly tenant: string;
  readonly subject: string;
  readonly scopes: readonly Scope[];
  readonly description: string;
  readonly createTime: Date;
  readonly createdBy: string;
  readonly expireTime: Date | null;
  readonly revokeTime: Date | null;
}

/** "lsh_" lets secret scanners find a token that was published by mistake. */
const TOKEN = /^lsh_([0-9a-z]{26})_([A-Za-z0-9_-]{43})$/;

export function formatToken(id: string, secret: string): string {
  return `lsh_${id}_${secret}`;
}

/** Undefined for what is no token of ours. */
export function parseToken(text: string): { readonly id: string; readonly secret: string } | undefined {
  const [, id, secret] = TOKEN.exec(text) ?? [];
  return id === undefined || secret === undefined ? undefined : { id, secret };
}

/** Why a token is good for nothing now; undefined while it is. */
export function tokenProblem(token: AccessToken, now: Date): string | undefined {
  if (token.revokeTime !== null) return `token ${token.id} was revoked on ${token.revokeTime.toISOString()}`;
  if (token.expireTime !== null && token.expireTime <= now)
    return `token ${token.id} expired on ${token.expireTime.toISOString()}`;
  return undefined;
}

export function principalOf({ id, tenant, subject, scopes, expireTime }: AccessToken): Principal {
  return { tenant, subject, scopes: new Set(scopes), credential: credentialOf(id), expireTime };
}

/** How a token is named wherever it must be told which credential was used. */
export function credentialOf(tokenId: string): string {
  return `token ${tokenId}`;
}
