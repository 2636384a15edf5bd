import type { Kysely, Selectable } from "kysely";
import { z } from "zod";
import type { ArtifactStore } from "../../domain/ports/task-store.ts";
import type { Artifact } from "../../domain/task.ts";
import { toDomainError } from "./fault.ts";
import type { Tables } from "./schema.ts";
import { checked, whole } from "./task-row.ts";
import type { Writer } from "./writer.ts";

/** Five columns each, so well below the 32,766 parameters of one SQLite statement. */
const ROWS_PER_INSERT = 500;

const columns = z.object({ path: z.string(), size_bytes: whole, sha256: z.string() });

export class SqlArtifactStore implements ArtifactStore {
  readonly #database: Kysely<Tables>;
  readonly #writer: Writer;

  constructor(database: Kysely<Tables>, writer: Writer) {
    this.#database = database;
    this.#writer = writer;
  }

  replace(taskId: string, tenant: string, artifacts: readonly Artifact[]): Promise<void> {
    return this.#writer.run(`replace the artifacts of task ${taskId}`, async (connection) => {
      await connection.deleteFrom("artifact").where("task_id", "=", taskId).execute();
      for (let start = 0; start < artifacts.length; start += ROWS_PER_INSERT) {
        const rows = artifacts.slice(start, start + ROWS_PER_INSERT).map((artifact) => ({
          task_id: taskId,
          tenant,
          path: artifact.path,
          size_bytes: artifact.sizeBytes,
          sha256: artifact.sha256,
        }));
        await connection.insertInto("artifact").values(rows).execute();
      }
    });
  }

  async list(taskId: string, afterPath: string, limit: number): Promise<Artifact[]> {
    try {
      const rows = await this.#database
        .selectFrom("artifact")
        .selectAll()
        .where("task_id", "=", taskId)
        .where("path", ">", afterPath)
        .orderBy("path")
        .limit(limit)
        .execute();
      return rows.map(fromArtifactRow);
    } catch (error) {
      throw toDomainError(error, `list the artifacts of task ${taskId}`);
    }
  }

  async find(taskId: string, path: string): Promise<Artifact | undefined> {
    try {
      const row = await this.#database
        .selectFrom("artifact")
        .selectAll()
        .where("task_id", "=", taskId)
        .where("path", "=", path)
        .executeTakeFirst();
      return row === undefined ? undefined : fromArtifactRow(row);
    } catch (error) {
      throw toDomainError(error, `find an artifact of task ${taskId}`);
    }
  }
}

function fromArtifactRow(row: Selectable<Tables["artifact"]>): Artifact {
  const { path, size_bytes, sha256 } = checked(columns, row, `artifact ${row.path} of task ${row.task_id}`);
  return { path, sizeBytes: size_bytes, sha256 };
}
