import { createHash } from "node:crypto";
import { errors, type JWTPayload, jwtVerify } from "jose";
import { Unauthenticated, Unavailable } from "../../domain/errors.ts";
import type { Authenticator, Credentials } from "../../domain/ports/authenticator.ts";
import { isScope, nameProblem, type Principal, type Scope, tenantProblem } from "../../domain/principal.ts";
import { KeySource } from "./key-source.ts";

export interface OidcOptions {
  /** As it stands in the tokens, character for character. */
  readonly issuer: string;
  readonly audience: string;
  /** Null asks the issuer where its keys are. */
  readonly jwksUrl: string | null;
  /** Signatures that count; never "none". */
  readonly algorithms: readonly string[];
  readonly clockSkewMillis: number;
  readonly subjectClaim: string;
  /** Null: everybody is of `tenant`. */
  readonly tenantClaim: string | null;
  readonly tenant: string;
  /** Null: the claim gives no scopes. Its value is a list, or one text with spaces. */
  readonly scopesClaim: string | null;
  /** What everybody may who comes from there, besides. */
  readonly scopes: readonly Scope[];
}

/** Three parts of base64url, which no token of our own looks like. */
const JWT = /^[\w-]+\.[\w-]+\.[\w-]*$/;
const MAX_JWT_LENGTH = 16_384;
const MAX_KEPT = 10_000;
/** A signature is checked again after this time, so that a key that the provider has withdrawn does not count for long. */
const KEPT_MILLIS = 60_000;

interface Kept {
  readonly principal: Principal;
  readonly until: number;
}

/** Knows those whom an OpenID Connect provider vouches for by a signed JWT. */
export class OidcAuthenticator implements Authenticator {
  readonly #options: OidcOptions;
  readonly #source: KeySource;
  readonly #clock: () => Date;
  /** By digest, so that no token lies in memory longer than its call. */
  readonly #kept = new Map<string, Kept>();

  constructor(options: OidcOptions, clock: () => Date) {
    this.#options = options;
    this.#source = new KeySource(options.issuer, options.jwksUrl);
    this.#clock = clock;
  }

  async authenticate({ bearer }: Credentials): Promise<Principal | undefined> {
    if (bearer === undefined || !JWT.test(bearer)) return undefined;
    if (bearer.length > MAX_JWT_LENGTH) throw new Unauthenticated("the token is longer than any good one");
    const digest = createHash("sha256").update(bearer).digest("base64");
    const now = this.#clock().getTime();
    const kept = this.#kept.get(digest);
    if (kept !== undefined && kept.until > now) return kept.principal;
    const principal = this.#read(await this.#verify(bearer));
    this.#keep(digest, {
      principal,
      until: Math.min(now + KEPT_MILLIS, principal.expireTime?.getTime() ?? 0),
    });
    return principal;
  }

  async #verify(bearer: string): Promise<JWTPayload> {
    const { issuer, audience, algorithms, clockSkewMillis } = this.#options;
    const keys = await this.#source.keys();
    try {
      const { payload } = await jwtVerify(bearer, keys, {
        issuer,
        audience,
        algorithms: [...algorithms],
        clockTolerance: clockSkewMillis / 1000,
        currentDate: this.#clock(),
        requiredClaims: ["exp", "iss", "aud"],
      });
      return payload;
    } catch (error) {
      throw explain(error);
    }
  }

  #read(payload: JWTPayload): Principal {
    const { subjectClaim, tenantClaim, scopesClaim, clockSkewMillis } = this.#options;
    const subject = textOf(payload, subjectClaim);
    const tenant = tenantClaim === null ? this.#options.tenant : textOf(payload, tenantClaim);
    const wrong = nameProblem(subject);
    if (wrong !== undefined) throw new Unauthenticated(`the token's claim ${subjectClaim} ${wrong}`);
    const wrongTenant = tenantProblem(tenant);
    if (wrongTenant !== undefined)
      throw new Unauthenticated(`the token's claim ${tenantClaim ?? ""} names no tenant: it ${wrongTenant}`);
    const given = scopesClaim === null ? [] : wordsOf(payload[scopesClaim]).filter(isScope);
    return {
      tenant,
      subject,
      scopes: new Set([...this.#options.scopes, ...given]),
      credential: `oidc ${subject}`,
      // Required above; calls that are under way end when it has passed.
      expireTime: new Date((payload.exp ?? 0) * 1000 + clockSkewMillis),
    };
  }

  #keep(digest: string, kept: Kept): void {
    const [oldest] = this.#kept.keys();
    if (this.#kept.size >= MAX_KEPT && oldest !== undefined) this.#kept.delete(oldest);
    this.#kept.delete(digest);
    this.#kept.set(digest, kept);
  }
}

/** What is wrong with a token is told by the name of the claim, never by its value. */
function explain(error: unknown): Error {
  const advice = "sign in again for a new one";
  if (error instanceof errors.JWTExpired) return new Unauthenticated(`the token has expired; ${advice}`);
  if (error instanceof errors.JWTClaimValidationFailed)
    return new Unauthenticated(
      `the token is not meant for this server: its claim ${error.claim} is not what it must be`,
    );
  if (error instanceof errors.JWKSTimeout || error instanceof errors.JWKSInvalid || !isAboutToken(error))
    return new Unavailable("the identity provider's keys cannot be had; try again", 2000, { cause: error });
  return new Unauthenticated(`the token's signature does not hold; ${advice}`);
}

/** jose's own errors are about the token or its key; others come from fetching the keys. */
function isAboutToken(error: unknown): boolean {
  return error instanceof errors.JOSEError && error.code !== "ERR_JOSE_GENERIC";
}

function textOf(payload: JWTPayload, claim: string): string {
  const value = payload[claim];
  if (typeof value === "string" && value !== "") return value;
  throw new Unauthenticated(`the token has no claim ${claim} that is a text`);
}

function wordsOf(value: unknown): string[] {
  if (typeof value === "string") return value.split(" ");
  return Array.isArray(value) ? value.filter((word) => typeof word === "string") : [];
}
