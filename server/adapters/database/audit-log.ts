import type { Kysely, Selectable } from "kysely";
import { z } from "zod";
import type { AuditEvent } from "../../domain/audit.ts";
import type { AuditLog, AuditQuery } from "../../domain/ports/access-store.ts";
import { toDomainError } from "./fault.ts";
import type { Tables } from "./schema.ts";
import { checked, whole } from "./task-row.ts";
import type { Writer } from "./writer.ts";

const columns = z.object({
  id: z.string(),
  time: whole.pipe(z.transform((value) => new Date(value))),
  tenant: z.string(),
  subject: z.string(),
  credential: z.string(),
  action: z.enum([
    "token.create",
    "token.revoke",
    "task.create",
    "task.cancel",
    "task.delete",
    "webhook.create",
    "webhook.delete",
    "webhook.rotate",
    "call.denied",
  ]),
  resource: z.string(),
  detail: z.string(),
  peer: z.string(),
  count: whole,
});

export class SqlAuditLog implements AuditLog {
  readonly #database: Kysely<Tables>;
  readonly #writer: Writer;

  constructor(database: Kysely<Tables>, writer: Writer) {
    this.#database = database;
    this.#writer = writer;
  }

  append(event: AuditEvent): Promise<void> {
    return this.#writer.run("append to the audit log", (connection) => insertAudit(connection, event));
  }

  async list({ tenant, since, until, afterId, limit }: AuditQuery): Promise<AuditEvent[]> {
    try {
      const rows = await this.#database
        .selectFrom("audit_event")
        .selectAll()
        .$if(tenant !== null, (query) => query.where("tenant", "=", tenant ?? ""))
        .$if(since !== null, (query) => query.where("time", ">=", since?.getTime() ?? 0))
        .$if(until !== null, (query) => query.where("time", "<", until?.getTime() ?? 0))
        .$if(afterId !== "", (query) => query.where("id", ">", afterId))
        .orderBy("id")
        .limit(limit)
        .execute();
      return rows.map(fromAuditRow);
    } catch (error) {
      throw toDomainError(error, "read the audit log");
    }
  }
}

/** Inside the transaction of what the event tells of. */
export async function insertAudit(connection: Kysely<Tables>, event: AuditEvent): Promise<void> {
  await connection
    .insertInto("audit_event")
    .values({ ...event, time: event.time.getTime() })
    .execute();
}

function fromAuditRow(row: Selectable<Tables["audit_event"]>): AuditEvent {
  return checked(columns, row, `audit event ${row.id}`);
}
