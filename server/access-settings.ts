import { z } from "zod";
import { isScope, SCOPES } from "./domain/principal.ts";
import { count, duration, flag, list, path, readEach, setting, size, text } from "./setting-readers.ts";

const byteRate = z.union([z.literal("0").transform(() => 0), size]);
const scopes = readEach(
  list,
  (word) => (isScope(word) ? word : undefined),
  `not one of ${SCOPES.join(", ")}`,
);
/** Public keys alone: with a shared secret whoever checks a token could make one, and "none" proves nothing. */
const algorithms = list.refine(
  (names) => names.length > 0 && names.every((name) => /^(RS|PS|ES)(256|384|512)$|^EdDSA$/.test(name)),
  "holds another than RS256, PS256, ES256 (384, 512) and EdDSA, or none",
);

/** Who may call and how much, and how connections are secured. */
export const ACCESS_SETTINGS = {
  LONGSHORE_ALLOW_INSECURE: setting(
    flag,
    "false",
    "serve on other addresses than loopback without tokens or without TLS: insecure unless the network is trusted, for whoever reaches the port can run code, and whoever reads the traffic has its tokens",
  ),
  LONGSHORE_AUTH: setting(
    z.enum(["none", "tokens"], "is neither none nor tokens"),
    "none",
    "who may call: none takes everybody for the local user, tokens asks for one; the first is written to admin.token in the data folder",
  ),
  LONGSHORE_RATE_REQUESTS: setting(
    count,
    "500",
    "calls a second that one token may make, twice as many at once; 0 sets no limit. These limits need LONGSHORE_AUTH=tokens",
  ),
  LONGSHORE_RATE_BYTES: setting(
    byteRate,
    "0",
    "bytes a second that the calls of one token may move, such as 50MB: streams are slowed down to it; 0 sets no limit",
  ),
  LONGSHORE_MAX_STREAMS: setting(
    count,
    "500",
    "streams that one token may have open (watches, uploads, downloads); 0 sets no limit",
  ),
  LONGSHORE_TLS_CERT: setting(
    path,
    "",
    "PEM file with the server's certificate chain; with LONGSHORE_TLS_KEY it turns TLS on. Read again every minute",
  ),
  LONGSHORE_TLS_KEY: setting(path, "", "PEM file with its private key"),
  LONGSHORE_TLS_CLIENT_CA: setting(
    path,
    "",
    "PEM file of authorities; clients must then show a certificate of one of them, for health checks too",
  ),
  LONGSHORE_CERTIFICATE_SCOPES: setting(
    scopes,
    "",
    "what a client may do that shows such a certificate and no token: its organization (O) is the tenant, its common name (CN) the subject; empty means that a certificate says nothing of who calls",
  ),
  LONGSHORE_OIDC_ISSUER: setting(
    z.string(),
    "",
    "OpenID Connect provider whose JWTs count as tokens, as it stands in them; empty turns it off",
  ),
  LONGSHORE_OIDC_AUDIENCE: setting(z.string(), "", "audience (aud) that they must name"),
  LONGSHORE_OIDC_JWKS_URL: setting(z.string(), "", "address of the provider's keys; empty asks the provider"),
  LONGSHORE_OIDC_ALGORITHMS: setting(
    algorithms,
    "RS256,PS256,ES256,EdDSA",
    "signatures that count, separated by commas",
  ),
  LONGSHORE_OIDC_CLOCK_SKEW: setting(duration, "30s", "how far the provider's clock may be from this one"),
  LONGSHORE_OIDC_SUBJECT_CLAIM: setting(text, "sub", "claim that names who calls"),
  LONGSHORE_OIDC_TENANT_CLAIM: setting(
    z.string(),
    "",
    "claim that names the tenant; empty means that all are of LONGSHORE_OIDC_TENANT",
  ),
  LONGSHORE_OIDC_TENANT: setting(text, "default", "the tenant of all, where no claim names it"),
  LONGSHORE_OIDC_SCOPES_CLAIM: setting(
    z.string(),
    "scope",
    "claim with scopes, a list or one text with spaces; words that are no scope of this server are passed over",
  ),
  LONGSHORE_OIDC_SCOPES: setting(scopes, "", "scopes that all have besides, separated by commas"),
} as const;
