import { type Kysely, type Selectable, sql } from "kysely";
import { z } from "zod";
import type { BlobRecord } from "../../domain/blob.ts";
import type { BlobIndex } from "../../domain/ports/blob-store.ts";
import { toDomainError } from "./fault.ts";
import type { Tables } from "./schema.ts";
import * as json from "./task-json.ts";
import { checked, jsonText, whole } from "./task-row.ts";
import type { Writer } from "./writer.ts";

const columns = z.object({
  tenant: z.string(),
  sha256: z.string(),
  size_bytes: whole,
  format: z.enum(["RAW", "TAR", "TAR_GZ", "ZIP"]),
  state: z.enum(["STORED", "REFUSED"]),
  validator_version: whole,
  create_time: whole.pipe(z.transform((value) => new Date(value))),
  use_time: whole.pipe(z.transform((value) => new Date(value))),
  refusal: z.string(),
  manifest: jsonText(json.manifest).nullable(),
});

export class SqlBlobIndex implements BlobIndex {
  readonly #database: Kysely<Tables>;
  readonly #writer: Writer;

  constructor(database: Kysely<Tables>, writer: Writer) {
    this.#database = database;
    this.#writer = writer;
  }

  async find(tenant: string, sha256: string): Promise<BlobRecord | undefined> {
    try {
      const row = await this.#database
        .selectFrom("blob")
        .selectAll()
        .where("tenant", "=", tenant)
        .where("sha256", "=", sha256)
        .executeTakeFirst();
      return row === undefined ? undefined : fromBlobRow(row);
    } catch (error) {
      throw toDomainError(error, `find blob ${sha256}`);
    }
  }

  put(record: BlobRecord): Promise<void> {
    const { tenant, sha256, ...verdict } = toBlobRow(record);
    return this.#writer.run(`record blob ${sha256}`, async (connection) => {
      await connection
        .insertInto("blob")
        .values({ tenant, sha256, ...verdict })
        .onConflict((conflict) => conflict.columns(["tenant", "sha256"]).doUpdateSet(verdict))
        .execute();
    });
  }

  remove(tenant: string, sha256: string): Promise<boolean> {
    return this.#writer.run(`remove blob ${sha256}`, async (connection) => {
      const { numDeletedRows } = await connection
        .deleteFrom("blob")
        .where("tenant", "=", tenant)
        .where("sha256", "=", sha256)
        .executeTakeFirstOrThrow();
      return numDeletedRows > 0n;
    });
  }

  touch(tenant: string, sha256: string, time: Date): Promise<boolean> {
    return this.#writer.run(`use blob ${sha256}`, async (connection) => {
      const { numUpdatedRows } = await connection
        .updateTable("blob")
        .set((row) => ({
          // Not max or greatest: each dialect knows only one of them.
          use_time: row
            .case()
            .when("use_time", "<", time.getTime())
            .then(time.getTime())
            .else(row.ref("use_time"))
            .end(),
        }))
        .where("tenant", "=", tenant)
        .where("sha256", "=", sha256)
        .executeTakeFirstOrThrow();
      return numUpdatedRows > 0n;
    });
  }

  removeUnused(time: Date, limit: number): Promise<string[]> {
    return this.#writer.run("remove unused blobs", async (connection) => {
      const unused = await connection
        .selectFrom("blob")
        .select(["tenant", "sha256"])
        .where("use_time", "<", time.getTime())
        .where(({ not, exists, selectFrom }) =>
          not(
            exists(
              selectFrom("task")
                .select(sql<number>`1`.as("found"))
                .whereRef("task.archive_sha256", "=", "blob.sha256")
                .whereRef("task.tenant", "=", "blob.tenant"),
            ),
          ),
        )
        .where(({ not, exists, selectFrom }) =>
          not(
            exists(
              selectFrom("task_input")
                .select(sql<number>`1`.as("found"))
                .whereRef("task_input.sha256", "=", "blob.sha256")
                .whereRef("task_input.tenant", "=", "blob.tenant"),
            ),
          ),
        )
        .orderBy("use_time")
        .limit(limit)
        .execute();
      for (const { tenant, sha256 } of unused) {
        await connection
          .deleteFrom("blob")
          .where("tenant", "=", tenant)
          .where("sha256", "=", sha256)
          .execute();
      }
      return unused.map(({ sha256 }) => sha256);
    });
  }

  async storedBytes(tenant: string): Promise<number> {
    try {
      const blobs = await this.#database
        .selectFrom("blob")
        .select((row) => row.fn.sum<number | string | null>("size_bytes").as("bytes"))
        .where("tenant", "=", tenant)
        .where("state", "=", "STORED")
        .executeTakeFirstOrThrow();
      const artifacts = await this.#database
        .selectFrom("artifact")
        .select((row) => row.fn.sum<number | string | null>("size_bytes").as("bytes"))
        .where("tenant", "=", tenant)
        .executeTakeFirstOrThrow();
      return Number(blobs.bytes ?? 0) + Number(artifacts.bytes ?? 0);
    } catch (error) {
      throw toDomainError(error, `add up what tenant ${tenant} stores`);
    }
  }

  async isReferenced(sha256: string): Promise<boolean> {
    const naming = (table: "blob" | "artifact" | "task_input") =>
      this.#database
        .selectFrom(table)
        .select(sql<number>`1`.as("found"))
        .where("sha256", "=", sha256)
        .limit(1);
    try {
      const found =
        (await naming("blob").executeTakeFirst()) ??
        (await naming("artifact").executeTakeFirst()) ??
        (await naming("task_input").executeTakeFirst()) ??
        (await this.#database
          .selectFrom("task")
          .select(sql<number>`1`.as("found"))
          .where("archive_sha256", "=", sha256)
          .limit(1)
          .executeTakeFirst());
      return found !== undefined;
    } catch (error) {
      throw toDomainError(error, `look for uses of blob ${sha256}`);
    }
  }
}

function toBlobRow(record: BlobRecord) {
  return {
    tenant: record.tenant,
    sha256: record.sha256,
    size_bytes: record.sizeBytes,
    format: record.format,
    state: record.state,
    validator_version: record.validatorVersion,
    create_time: record.createTime.getTime(),
    use_time: record.useTime.getTime(),
    refusal: record.refusal,
    manifest: record.manifest === null ? null : JSON.stringify(record.manifest),
  };
}

function fromBlobRow(row: Selectable<Tables["blob"]>): BlobRecord {
  const found = checked(columns, row, `blob ${row.sha256} of tenant ${row.tenant}`);
  return {
    tenant: found.tenant,
    sha256: found.sha256,
    sizeBytes: found.size_bytes,
    format: found.format,
    state: found.state,
    refusal: found.refusal,
    validatorVersion: found.validator_version,
    createTime: found.create_time,
    useTime: found.use_time,
    manifest: found.manifest,
  };
}
