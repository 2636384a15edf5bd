import { type Scope, tenantProblem } from "./domain/principal.ts";
import type { Values } from "./settings.ts";

/** As the adapter takes it; without its issuer it is off. */
export interface OidcConfig {
  readonly issuer: string;
  readonly audience: string;
  readonly jwksUrl: string | null;
  readonly algorithms: readonly string[];
  readonly clockSkewMillis: number;
  readonly subjectClaim: string;
  readonly tenantClaim: string | null;
  readonly tenant: string;
  readonly scopesClaim: string | null;
  readonly scopes: readonly Scope[];
}

/** Who may call, and how connections are secured. */
export interface AccessConfig {
  readonly auth: "none" | "tokens";
  /** Null serves without TLS. */
  readonly tls: {
    readonly certificate: string;
    readonly key: string;
    readonly clientAuthorities: string | null;
  } | null;
  readonly oidc: OidcConfig | null;
  /** Per credential; null where nobody is told apart. */
  readonly rateLimits: {
    readonly requestsPerSecond: number | null;
    readonly bytesPerSecond: number | null;
    readonly openStreams: number | null;
  } | null;
  /** What the certificate of a client allows by itself; null where it says nothing of who calls. */
  readonly certificateScopes: readonly Scope[] | null;
}

const LOOPBACK = /^(127\.\d+\.\d+\.\d+|localhost|\[::1\])$/;

export function accessProblems(v: Values): string[] {
  return [...tlsProblems(v), ...exposureProblems(v), ...oidcProblems(v), ...certificateProblems(v)];
}

function tlsProblems(v: Values): string[] {
  const problems: string[] = [];
  const { LONGSHORE_TLS_CERT: cert, LONGSHORE_TLS_KEY: key, LONGSHORE_TLS_CLIENT_CA: authorities } = v;
  if (cert !== "" && key === "")
    problems.push("LONGSHORE_TLS_CERT is set without LONGSHORE_TLS_KEY, its key");
  if (cert === "" && key !== "")
    problems.push("LONGSHORE_TLS_KEY is set without LONGSHORE_TLS_CERT, the certificate that it belongs to");
  if (cert === "" && authorities !== "")
    problems.push(
      "LONGSHORE_TLS_CLIENT_CA is set without LONGSHORE_TLS_CERT and LONGSHORE_TLS_KEY; certificates of clients are part of TLS",
    );
  return problems;
}

function oidcProblems(v: Values): string[] {
  const { LONGSHORE_OIDC_ISSUER: issuer, LONGSHORE_OIDC_JWKS_URL: jwksUrl } = v;
  if (issuer === "") return [];
  const problems: string[] = [];
  if (v.LONGSHORE_AUTH === "none")
    problems.push(
      "LONGSHORE_OIDC_ISSUER is set, but LONGSHORE_AUTH=none asks nobody who they are; set LONGSHORE_AUTH=tokens",
    );
  if (v.LONGSHORE_OIDC_AUDIENCE === "")
    problems.push(
      "LONGSHORE_OIDC_AUDIENCE is empty: without it a token that the provider made for any other service would count here",
    );
  for (const [name, url] of [
    ["LONGSHORE_OIDC_ISSUER", issuer] as const,
    ["LONGSHORE_OIDC_JWKS_URL", jwksUrl] as const,
  ])
    if (url !== "" && !isTrustworthy(url))
      problems.push(`${name} ${url} is no https address; keys that come unprotected could be anybody's`);
  const wrong = tenantProblem(v.LONGSHORE_OIDC_TENANT);
  if (wrong !== undefined) problems.push(`LONGSHORE_OIDC_TENANT ${wrong}`);
  return problems;
}

function isTrustworthy(address: string): boolean {
  const url = URL.parse(address);
  return url?.protocol === "https:" || (url?.protocol === "http:" && LOOPBACK.test(url.hostname));
}

function certificateProblems(v: Values): string[] {
  if (v.LONGSHORE_CERTIFICATE_SCOPES.length === 0) return [];
  if (v.LONGSHORE_AUTH !== "none" && v.LONGSHORE_TLS_CLIENT_CA !== "") return [];
  return [
    "LONGSHORE_CERTIFICATE_SCOPES needs LONGSHORE_AUTH=tokens and LONGSHORE_TLS_CLIENT_CA, whose certificates it is about",
  ];
}

/** What reaches other machines needs to know its callers and to hide what they say. */
function exposureProblems(v: Values): string[] {
  const host = v.LONGSHORE_LISTEN.replace(/:\d+$/, "");
  if (LOOPBACK.test(host) || v.LONGSHORE_ALLOW_INSECURE) return [];
  const missing = [
    ...(v.LONGSHORE_AUTH === "none" ? ["tokens (LONGSHORE_AUTH=tokens)"] : []),
    ...(v.LONGSHORE_TLS_CERT === "" ? ["TLS (LONGSHORE_TLS_CERT and LONGSHORE_TLS_KEY)"] : []),
  ];
  if (missing.length === 0) return [];
  return [
    `LONGSHORE_LISTEN ${v.LONGSHORE_LISTEN} is reached from other machines; that needs ${missing.join(" and ")}. ` +
      "Set these, listen on 127.0.0.1, or set LONGSHORE_ALLOW_INSECURE=true if the network is trusted",
  ];
}

export function toAccessConfig(v: Values): AccessConfig {
  const { LONGSHORE_TLS_CERT: certificate, LONGSHORE_TLS_KEY: key, LONGSHORE_TLS_CLIENT_CA: authorities } = v;
  return {
    auth: v.LONGSHORE_AUTH,
    tls:
      certificate === ""
        ? null
        : { certificate, key, clientAuthorities: authorities === "" ? null : authorities },
    oidc: toOidcConfig(v),
    rateLimits:
      v.LONGSHORE_AUTH === "none"
        ? null
        : {
            requestsPerSecond: v.LONGSHORE_RATE_REQUESTS || null,
            bytesPerSecond: v.LONGSHORE_RATE_BYTES || null,
            openStreams: v.LONGSHORE_MAX_STREAMS || null,
          },
    certificateScopes: v.LONGSHORE_CERTIFICATE_SCOPES.length === 0 ? null : v.LONGSHORE_CERTIFICATE_SCOPES,
  };
}

function toOidcConfig(v: Values): OidcConfig | null {
  const nullIfEmpty = (text: string) => (text === "" ? null : text);
  if (v.LONGSHORE_OIDC_ISSUER === "") return null;
  return {
    issuer: v.LONGSHORE_OIDC_ISSUER,
    audience: v.LONGSHORE_OIDC_AUDIENCE,
    jwksUrl: nullIfEmpty(v.LONGSHORE_OIDC_JWKS_URL),
    algorithms: v.LONGSHORE_OIDC_ALGORITHMS,
    clockSkewMillis: v.LONGSHORE_OIDC_CLOCK_SKEW,
    subjectClaim: v.LONGSHORE_OIDC_SUBJECT_CLAIM,
    tenantClaim: nullIfEmpty(v.LONGSHORE_OIDC_TENANT_CLAIM),
    tenant: v.LONGSHORE_OIDC_TENANT,
    scopesClaim: nullIfEmpty(v.LONGSHORE_OIDC_SCOPES_CLAIM),
    scopes: v.LONGSHORE_OIDC_SCOPES,
  };
}
