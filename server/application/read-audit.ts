import type { AuditEvent } from "../domain/audit.ts";
import type { AuditLog } from "../domain/ports/access-store.ts";
import type { AuditListRequest } from "./access-api.ts";
import type { Caller } from "./caller.ts";
import { decodePageToken, encodePageToken } from "./page-token.ts";
import { visibleTenant } from "./visible-tenant.ts";

export class ReadAudit {
  readonly #log: AuditLog;

  constructor(log: AuditLog) {
    this.#log = log;
  }

  async list(
    caller: Caller,
    request: AuditListRequest,
  ): Promise<{ events: AuditEvent[]; nextPageToken: string }> {
    const { pageSize, pageToken, violations, since, until } = request;
    const conditions = { eventsOf: request.tenant, since, until };
    const afterId = decodePageToken(pageToken, conditions, violations);
    const tenant = visibleTenant(caller, request.tenant);
    const found = await this.#log.list({ tenant, since, until, afterId, limit: pageSize + 1 });
    const events = found.slice(0, pageSize);
    const last = events.at(-1);
    const more = found.length > pageSize && last !== undefined;
    return { events, nextPageToken: more ? encodePageToken(last.id, conditions) : "" };
  }
}
