import type { Kysely, Selectable } from "kysely";
import { z } from "zod";
import type { AccessToken } from "../../domain/access-token.ts";
import type { AuditEvent } from "../../domain/audit.ts";
import type { TokenStore } from "../../domain/ports/access-store.ts";
import { SCOPES } from "../../domain/principal.ts";
import { insertAudit } from "./audit-log.ts";
import { toDomainError } from "./fault.ts";
import type { Tables } from "./schema.ts";
import { checked, whole } from "./task-row.ts";
import type { Writer } from "./writer.ts";

const time = whole.pipe(z.transform((value) => new Date(value)));
const columns = z.object({
  id: z.string(),
  tenant: z.string(),
  subject: z.string(),
  secret_digest: z.string(),
  scopes: z
    .string()
    .transform((text) => text.split(","))
    .pipe(z.array(z.enum(SCOPES))),
  description: z.string(),
  created_by: z.string(),
  create_time: time,
  expire_time: time.nullable(),
  revoke_time: time.nullable(),
});

export class SqlTokenStore implements TokenStore {
  readonly #database: Kysely<Tables>;
  readonly #writer: Writer;

  constructor(database: Kysely<Tables>, writer: Writer) {
    this.#database = database;
    this.#writer = writer;
  }

  insert(token: AccessToken, event: AuditEvent): Promise<void> {
    return this.#writer.run(`insert access token ${token.id}`, async (connection) => {
      await connection.insertInto("access_token").values(toTokenRow(token)).execute();
      await insertAudit(connection, event);
    });
  }

  async find(id: string): Promise<AccessToken | undefined> {
    try {
      const row = await this.#database
        .selectFrom("access_token")
        .selectAll()
        .where("id", "=", id)
        .executeTakeFirst();
      return row === undefined ? undefined : fromTokenRow(row);
    } catch (error) {
      throw toDomainError(error, "find an access token");
    }
  }

  async list({ tenant, afterId, limit }: Parameters<TokenStore["list"]>[0]): Promise<AccessToken[]> {
    try {
      const rows = await this.#database
        .selectFrom("access_token")
        .selectAll()
        .$if(tenant !== null, (query) => query.where("tenant", "=", tenant ?? ""))
        .$if(afterId !== "", (query) => query.where("id", "<", afterId))
        .orderBy("id", "desc")
        .limit(limit)
        .execute();
      return rows.map(fromTokenRow);
    } catch (error) {
      throw toDomainError(error, "list access tokens");
    }
  }

  revoke(id: string, time: Date, event: AuditEvent): Promise<boolean> {
    return this.#writer.run(`revoke access token ${id}`, async (connection) => {
      const { numUpdatedRows } = await connection
        .updateTable("access_token")
        .set({ revoke_time: time.getTime() })
        .where("id", "=", id)
        .where("revoke_time", "is", null)
        .executeTakeFirstOrThrow();
      if (numUpdatedRows === 0n) return false;
      await insertAudit(connection, event);
      return true;
    });
  }
}

function toTokenRow(token: AccessToken) {
  return {
    id: token.id,
    tenant: token.tenant,
    subject: token.subject,
    secret_digest: token.secretDigest,
    scopes: token.scopes.join(","),
    description: token.description,
    created_by: token.createdBy,
    create_time: token.createTime.getTime(),
    expire_time: token.expireTime?.getTime() ?? null,
    revoke_time: token.revokeTime?.getTime() ?? null,
  };
}

function fromTokenRow(row: Selectable<Tables["access_token"]>): AccessToken {
  const found = checked(columns, row, `access token ${row.id}`);
  return {
    id: found.id,
    tenant: found.tenant,
    subject: found.subject,
    secretDigest: found.secret_digest,
    scopes: found.scopes,
    description: found.description,
    createdBy: found.created_by,
    createTime: found.create_time,
    expireTime: found.expire_time,
    revokeTime: found.revoke_time,
  };
}
