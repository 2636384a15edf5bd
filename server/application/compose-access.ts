import type { AccessToken } from "../domain/access-token.ts";
import { Unauthenticated } from "../domain/errors.ts";
import type { AuditLog, TokenStore } from "../domain/ports/access-store.ts";
import type { Authenticator, Credentials } from "../domain/ports/authenticator.ts";
import type { Log } from "../domain/ports/telemetry.ts";
import { LOCAL_USER, type Principal } from "../domain/principal.ts";
import type { Access } from "./access-api.ts";
import { AuditEvents } from "./audit-event.ts";
import { Denials } from "./denials.ts";
import { issueFirstToken } from "./first-token.ts";
import type { NewId } from "./identity.ts";
import { ManageTokens, revokedCredential } from "./manage-tokens.ts";
import { ReadAudit } from "./read-audit.ts";
import { TokenAuthenticator } from "./token-authenticator.ts";

export interface AccessParts {
  /** Null takes every caller for the local user. Else tokens of this server count, and what these others know, asked in this order. */
  readonly authenticators: readonly Authenticator[] | null;
  readonly tokens: TokenStore;
  readonly audit: AuditLog;
  /** Where the first token goes, so that somebody can make the others; answers the place for people to look. */
  readonly deliverFirstToken: (token: string) => Promise<string>;
  readonly log: Log;
  readonly clock: () => Date;
  readonly newId: NewId;
}

export interface ComposedAccess extends AsyncDisposable {
  readonly access: Access;
}

const ADVICE =
  'send a token as metadata "authorization: Bearer TOKEN" (LONGSHORE_TOKEN or --token-file of the clients)';

/** Puts together who may call; makes the first token where there is nobody who could make one. */
export async function composeAccess(parts: AccessParts): Promise<ComposedAccess> {
  const { tokens: store, audit, log, clock, newId } = parts;
  const events = new AuditEvents({ clock, newId });
  const listeners = new Set<(credential: string) => void>();
  const known = new TokenAuthenticator({ store, clock });
  const revoked = (token: AccessToken) => {
    known.forget(token.id);
    for (const listener of listeners) listener(revokedCredential(token));
  };
  const tokens = new ManageTokens({ store, events, revoked, clock, newId });
  const readAudit = new ReadAudit(audit);
  const denials = new Denials({ audit, events, log });
  const chain = parts.authenticators === null ? null : [known, ...parts.authenticators];
  if (chain !== null) await issueFirstToken({ store, tokens, deliver: parts.deliverFirstToken, log, clock });
  const access: Access = {
    authenticate: async (credentials) => (chain === null ? LOCAL_USER : await identify(chain, credentials)),
    onRevoke: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    denied: (call) => denials.add(call),
    createToken: (caller, request) => tokens.create(caller, request),
    listTokens: (caller, request) => tokens.list(caller, request),
    revokeToken: (caller, id) => tokens.revoke(caller, id),
    listAuditEvents: (caller, request) => readAudit.list(caller, request),
  };
  return { access, [Symbol.asyncDispose]: () => denials.close() };
}

/** The first that knows the kind of credential decides. */
async function identify(chain: readonly Authenticator[], credentials: Credentials): Promise<Principal> {
  for (const authenticator of chain) {
    const principal = await authenticator.authenticate(credentials);
    if (principal !== undefined) return principal;
  }
  if (credentials.bearer === undefined)
    throw new Unauthenticated(`this server must know who calls; ${ADVICE}`);
  throw new Unauthenticated(`what was sent as a token is none of this server; ${ADVICE}`);
}
