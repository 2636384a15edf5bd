import { randomBytes } from "node:crypto";
import { type AccessToken, credentialOf, formatToken } from "../domain/access-token.ts";
import { type FieldViolation, InvalidRequest, MissingScope, NotFound } from "../domain/errors.ts";
import type { TokenStore } from "../domain/ports/access-store.ts";
import { isScope, nameProblem, SCOPES, type Scope, tenantProblem } from "../domain/principal.ts";
import type { TokenListRequest, TokenRequest } from "./access-api.ts";
import type { AuditEvents } from "./audit-event.ts";
import type { Caller } from "./caller.ts";
import type { NewId } from "./identity.ts";
import { decodePageToken, encodePageToken } from "./page-token.ts";
import { digestOfSecret } from "./token-authenticator.ts";
import { visibleTenant } from "./visible-tenant.ts";

const SECRET_BYTES = 32;
const DAY_MILLIS = 86_400_000;
const DEFAULT_LIFETIME_MILLIS = 90 * DAY_MILLIS;
const MAX_LIFETIME_MILLIS = 3650 * DAY_MILLIS;

export interface ManageTokensDeps {
  readonly store: TokenStore;
  readonly events: AuditEvents;
  /** Told of each token that was revoked, after the commit. */
  readonly revoked: (token: AccessToken) => void;
  readonly clock: () => Date;
  readonly newId: NewId;
}

/** Makes, lists and revokes tokens. */
export class ManageTokens {
  readonly #deps: ManageTokensDeps;

  constructor(deps: ManageTokensDeps) {
    this.#deps = deps;
  }

  async create(caller: Caller, request: TokenRequest): Promise<{ token: AccessToken; secret: string }> {
    const violations = [...request.violations];
    const tenant = request.tenant || caller.tenant;
    const subject = request.subject || caller.subject;
    const say = (field: string, description: string | undefined) => {
      if (description !== undefined) violations.push({ field, description });
    };
    say("tenant", tenantProblem(tenant));
    say("subject", nameProblem(subject));
    say("description", nameProblem(request.description));
    say("lifetime", lifetimeProblem(request.lifetimeMillis));
    const scopes = readScopes(request.scopes, violations);
    if (violations.length > 0) throw new InvalidRequest(violations);
    requireRight(caller, tenant, scopes);
    const lifetime = request.lifetimeMillis ?? DEFAULT_LIFETIME_MILLIS;
    const { description } = request;
    return await this.issue(caller, { tenant, subject, scopes, description, lifetime });
  }

  /**
   * Makes a token without asking whether the caller may; `lifetime` null never ends. `deliver` gets the token before it is good: one that
   * nobody has seen would lock people out.
   */
  async issue(
    caller: Pick<Caller, "tenant" | "subject" | "credential" | "peer">,
    what: Pick<AccessToken, "tenant" | "subject" | "scopes" | "description"> & { lifetime: number | null },
    deliver?: (secret: string) => Promise<unknown>,
  ): Promise<{ token: AccessToken; secret: string }> {
    const { store, events, clock, newId } = this.#deps;
    const { lifetime, ...about } = what;
    const secret = randomBytes(SECRET_BYTES).toString("base64url");
    const createTime = clock();
    const token: AccessToken = {
      ...about,
      id: newId().toLowerCase(),
      secretDigest: digestOfSecret(secret),
      createTime,
      createdBy: caller.subject,
      expireTime: lifetime === null ? null : new Date(createTime.getTime() + lifetime),
      revokeTime: null,
    };
    const detail = `for ${token.subject}: ${token.scopes.join(", ")}`;
    const { tenant } = token;
    const text = formatToken(token.id, secret);
    await deliver?.(text);
    await store.insert(token, events.of(caller, "token.create", token.id, { tenant, detail }));
    return { token, secret: text };
  }

  async list(
    caller: Caller,
    request: TokenListRequest,
  ): Promise<{ tokens: AccessToken[]; nextPageToken: string }> {
    const { pageSize, pageToken, violations } = request;
    const conditions = { tokensOf: request.tenant };
    const afterId = decodePageToken(pageToken, conditions, violations);
    const tenant = visibleTenant(caller, request.tenant);
    const found = await this.#deps.store.list({ tenant, afterId, limit: pageSize + 1 });
    const tokens = found.slice(0, pageSize);
    const last = tokens.at(-1);
    const more = found.length > pageSize && last !== undefined;
    return { tokens, nextPageToken: more ? encodePageToken(last.id, conditions) : "" };
  }

  async revoke(caller: Caller, id: string): Promise<AccessToken> {
    const { store, events, clock, revoked } = this.#deps;
    const token = await store.find(id);
    if (token === undefined || (token.tenant !== caller.tenant && !caller.scopes.has("operator")))
      throw new NotFound("token", id.slice(0, 100), "see longshore token list");
    if (token.revokeTime !== null) return token;
    const revokeTime = clock();
    const { tenant, subject } = token;
    const event = events.of(caller, "token.revoke", id, { tenant, detail: `of ${subject}` });
    if (!(await store.revoke(id, revokeTime, event))) return (await store.find(id)) ?? token;
    revoked(token);
    return { ...token, revokeTime };
  }
}

/** How calls under way learn of it: by the name that their principal has. */
export function revokedCredential(token: AccessToken): string {
  return credentialOf(token.id);
}

function readScopes(words: readonly string[], violations: FieldViolation[]): Scope[] {
  const say = (description: string) => violations.push({ field: "scopes", description });
  if (words.length === 0) say(`is empty; a token needs at least one of ${SCOPES.join(", ")}`);
  for (const word of words) {
    if (!isScope(word)) say(`"${word.slice(0, 100)}" is not one of ${SCOPES.join(", ")}`);
  }
  return SCOPES.filter((scope) => words.includes(scope));
}

function lifetimeProblem(millis: number | null): string | undefined {
  if (millis === null || millis <= MAX_LIFETIME_MILLIS) return undefined;
  return `is longer than ${MAX_LIFETIME_MILLIS / DAY_MILLIS} days`;
}

/** An administrator gives what belongs to the own tenant; what reaches beyond it only an operator can give. */
function requireRight(caller: Caller, tenant: string, scopes: readonly Scope[]): void {
  if (caller.scopes.has("operator")) return;
  if (tenant !== caller.tenant)
    throw new MissingScope("operator", "a token of another tenant needs the scope operator");
  if (scopes.includes("operator"))
    throw new MissingScope("operator", "the scope operator can be given by those alone who have it");
}
