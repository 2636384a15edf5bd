import type { AccessToken } from "#server/domain/access-token.ts";
import type { AuditEvent } from "#server/domain/audit.ts";
import type { Credentials } from "#server/domain/ports/authenticator.ts";
import type { Principal, Scope } from "#server/domain/principal.ts";
import type { Caller, Checked } from "./caller.ts";

export interface TokenRequest extends Checked {
  /** Empty means the caller's own; so it is of `subject`. */
  readonly tenant: string;
  readonly subject: string;
  /** As they came: words that are no scope are refused. */
  readonly scopes: readonly string[];
  readonly description: string;
  /** Null takes the default. */
  readonly lifetimeMillis: number | null;
}

export interface TokenListRequest extends Checked {
  /** Empty means all that the caller may see. */
  readonly tenant: string;
  /** From 1 to 1000. */
  readonly pageSize: number;
  readonly pageToken: string;
}

export interface AuditListRequest extends TokenListRequest {
  readonly since: Date | null;
  readonly until: Date | null;
}

export interface DeniedCall {
  /** Who it was, where that is known. */
  readonly caller: Pick<Principal, "tenant" | "subject" | "credential">;
  readonly peer: string;
  /** Path of the RPC. */
  readonly path: string;
  /** Why, without anything that was shown. */
  readonly detail: string;
}

/** Who may call. The transport asks before each call; server/application provides it, and the management of tokens with it. */
export interface Access {
  /** Throws Unauthenticated, or Unavailable where that cannot be told now. */
  authenticate(credentials: Credentials): Promise<Principal>;
  /** Tells each credential that is taken back, by its name; calls that are under way with it must end. Answers how to stop listening. */
  onRevoke(listener: (credential: string) => void): () => void;
  /** Notes a call that was refused for who made it. Never throws, and writes little however often it is called. */
  denied(call: DeniedCall): void;

  createToken(
    caller: Caller,
    request: TokenRequest,
  ): Promise<{ readonly token: AccessToken; readonly secret: string }>;
  listTokens(
    caller: Caller,
    request: TokenListRequest,
  ): Promise<{ readonly tokens: readonly AccessToken[]; readonly nextPageToken: string }>;
  revokeToken(caller: Caller, id: string): Promise<AccessToken>;
  listAuditEvents(
    caller: Caller,
    request: AuditListRequest,
  ): Promise<{ readonly events: readonly AuditEvent[]; readonly nextPageToken: string }>;
}

export type { Caller, Principal, Scope };
