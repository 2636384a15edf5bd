import type { AccessToken } from "../access-token.ts";
import type { AuditEvent } from "../audit.ts";

/** Tokens, each change in one transaction with the event that tells of it. */
export interface TokenStore {
  insert(token: AccessToken, event: AuditEvent): Promise<void>;
  find(id: string): Promise<AccessToken | undefined>;
  /** Newest first, after `afterId`, at most `limit`; of all tenants when `tenant` is null. */
  list(query: {
    readonly tenant: string | null;
    readonly afterId: string;
    readonly limit: number;
  }): Promise<AccessToken[]>;
  /** False, and nothing is written, when it is unknown or revoked already. */
  revoke(id: string, time: Date, event: AuditEvent): Promise<boolean>;
}

export interface AuditQuery {
  /** Null means all, also what happened to no tenant. */
  readonly tenant: string | null;
  readonly since: Date | null;
  readonly until: Date | null;
  /** Empty begins at the oldest. */
  readonly afterId: string;
  readonly limit: number;
}

/** Who did what. There is no way to change or remove what is in it. */
export interface AuditLog {
  /** For what changes nothing else; a change brings its event along to its own store. */
  append(event: AuditEvent): Promise<void>;
  /** Oldest first. */
  list(query: AuditQuery): Promise<AuditEvent[]>;
}
