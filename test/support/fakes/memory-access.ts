import type { AccessToken } from "#server/domain/access-token.ts";
import type { AuditEvent } from "#server/domain/audit.ts";
import type { AuditLog, AuditQuery, TokenStore } from "#server/domain/ports/access-store.ts";

/** The audit log as an array. */
export class MemoryAuditLog implements AuditLog {
  readonly events: AuditEvent[] = [];

  async append(event: AuditEvent): Promise<void> {
    this.events.push(event);
  }

  async list({ tenant, since, until, afterId, limit }: AuditQuery): Promise<AuditEvent[]> {
    return this.events
      .toSorted((a, b) => (a.id < b.id ? -1 : 1))
      .filter((event) => tenant === null || event.tenant === tenant)
      .filter((event) => since === null || event.time >= since)
      .filter((event) => until === null || event.time < until)
      .filter((event) => afterId === "" || event.id > afterId)
      .slice(0, limit);
  }
}

/** Tokens as a map, beside the audit log that their changes are told to. */
export class MemoryTokenStore implements TokenStore {
  readonly #tokens = new Map<string, AccessToken>();
  readonly #audit: MemoryAuditLog;

  constructor(audit: MemoryAuditLog) {
    this.#audit = audit;
  }

  async insert(token: AccessToken, event: AuditEvent): Promise<void> {
    if (this.#tokens.has(token.id)) throw new Error(`there is already a token ${token.id}`);
    this.#tokens.set(token.id, token);
    await this.#audit.append(event);
  }

  async find(id: string): Promise<AccessToken | undefined> {
    return this.#tokens.get(id);
  }

  async list({ tenant, afterId, limit }: Parameters<TokenStore["list"]>[0]): Promise<AccessToken[]> {
    return [...this.#tokens.values()]
      .toSorted((a, b) => (a.id < b.id ? 1 : -1))
      .filter((token) => tenant === null || token.tenant === tenant)
      .filter((token) => afterId === "" || token.id < afterId)
      .slice(0, limit);
  }

  async revoke(id: string, time: Date, event: AuditEvent): Promise<boolean> {
    const token = this.#tokens.get(id);
    if (token === undefined || token.revokeTime !== null) return false;
    this.#tokens.set(id, { ...token, revokeTime: time });
    await this.#audit.append(event);
    return true;
  }
}
