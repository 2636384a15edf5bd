import { type Kysely, sql } from "kysely";
import type { AuditEvent } from "../../domain/audit.ts";
import type { TaskOutcome } from "../../domain/dependency.ts";
import { SystemFault } from "../../domain/errors.ts";
import { endedEntries } from "../../domain/ledger.ts";
import {
  RequestIdTaken,
  SourceGone,
  StaleTask,
  type TaskPage,
  type TaskQuery,
  type TaskStore,
} from "../../domain/ports/task-store.ts";
import type { Attempt, Stage, Task } from "../../domain/task.ts";
import { type DamagedTask, intact, isDamaged, type TaskRecord } from "../../domain/task-record.ts";
import { insertAudit } from "./audit-log.ts";
import { toDomainError } from "./fault.ts";
import type { OutboxWriter } from "./outbox-writer.ts";
import type { Tables } from "./schema.ts";
import { portions, TaskReader, type TaskSelection } from "./task-reader.ts";
import { changedColumns, fromOutcomeRow, toAttemptRow, toStageRow, toTaskRow, whole } from "./task-row.ts";
import { writeLedger } from "./usage-ledger.ts";
import type { Writer } from "./writer.ts";

export class SqlTaskStore implements TaskStore {
  readonly #database: Kysely<Tables>;
  readonly #writer: Writer;
  readonly #outbox: OutboxWriter;
  readonly #now: () => Date;
  readonly #reader: TaskReader;

  constructor(
    database: Kysely<Tables>,
    writer: Writer,
    outbox: OutboxWriter,
    { now, onDamaged }: { now: () => Date; onDamaged: (task: DamagedTask) => void },
  ) {
    this.#database = database;
    this.#reader = new TaskReader(database, onDamaged);
    this.#writer = writer;
    this.#outbox = outbox;
    this.#now = now;
  }

  async insert(task: Task, event?: AuditEvent): Promise<void> {
    const added = await this.#writer.run(`insert task ${task.id}`, async (connection) => {
      const { numInsertedOrUpdatedRows } = await connection
        .insertInto("task")
        .values(toTaskRow(task))
        .onConflict((conflict) => conflict.doNothing())
        .executeTakeFirstOrThrow();
      if (numInsertedOrUpdatedRows === 0n) throw await whyNotInserted(connection, task);
      await connection.insertInto("task_spec").values(toSpecRow(task)).execute();
      await insertLabels(connection, task);
      await insertInputs(connection, task);
      await writeAttempts(connection, task, []);
      await writeStages(connection, task, []);
      await insertEvent(connection, task, task.createTime);
      if (event !== undefined) await insertAudit(connection, event);
      return await this.#outbox.add(connection, task, task.createTime);
    });
    if (added) this.#outbox.tell();
  }

  async save(next: Task, previous: Task, event?: AuditEvent): Promise<void> {
    const added = await this.#writer.run(`save task ${next.id}`, async (connection) => {
      const { numUpdatedRows } = await connection
        .updateTable("task")
        .set(changedColumns(next, previous))
        .where("id", "=", previous.id)
        .where("version", "=", previous.version)
        .executeTakeFirstOrThrow();
      if (numUpdatedRows === 0n) throw new StaleTask(previous.id, previous.version);
      if (
        next.spec !== previous.spec ||
        next.program !== previous.program ||
        next.inputs !== previous.inputs ||
        next.environment !== previous.environment
      ) {
        await rewriteSpec(connection, next);
      }
      await writeAttempts(connection, next, previous.attempts);
      await writeStages(connection, next, previous.stages);
      await writeLedger(connection, endedEntries(next, previous));
      if (next.cachedFrom !== previous.cachedFrom) await copyArtifacts(connection, next);
      if (event !== undefined) await insertAudit(connection, event);
      if (next.state === previous.state) return false;
      const now = this.#now();
      await insertEvent(connection, next, now);
      return await this.#outbox.add(connection, next, now);
    });
    if (added) this.#outbox.tell();
  }

  async get(id: string): Promise<TaskRecord | undefined> {
    const [record] = await this.#reader.load(`read task ${id}`, (query) => query.where("task.id", "=", id));
    return record;
  }

  async findByRequestId(tenant: string, requestId: string): Promise<Task | undefined> {
    if (requestId === "") return undefined;
    const [record] = await this.#reader.load(`find request id ${requestId}`, (query) =>
      query.where("task.tenant", "=", tenant).where("task.request_id", "=", requestId),
    );
    return record === undefined ? undefined : intact(record);
  }

  list(query: TaskQuery): Promise<TaskPage> {
    return this.#reader.page(query);
  }

  unfinished(): Promise<Task[]> {
    return this.#intact("read unfinished tasks", (query) =>
      // A literal, because a bound value would not let SQLite use the partial index.
      query.where("task.unfinished", "=", sql.lit(1)).orderBy("task.id"),
    );
  }

  expired(time: Date, limit: number): Promise<TaskRecord[]> {
    return this.#reader.load("read expired tasks", (query) =>
      query
        .where("task.expire_time", "<", time.getTime())
        .orderBy("task.expire_time")
        .orderBy("task.id")
        .limit(limit),
    );
  }

  lastEnded(limit: number): Promise<Task[]> {
    return this.#intact("read the tasks that ended last", (query) =>
      query
        .where("task.end_time", "is not", null)
        .orderBy("task.end_time", "desc")
        .orderBy("task.id", "desc")
        .limit(limit),
    );
  }

  async outcomes(ids: readonly string[]): Promise<Map<string, TaskOutcome>> {
    const found = new Map<string, TaskOutcome>();
    try {
      for (const some of portions(ids)) {
        const rows = await this.#database
          .selectFrom("task")
          .select(["id", "tenant", "state", "end_time", "result"])
          .where("id", "in", some)
          .execute();
        for (const row of rows) found.set(row.id, fromOutcomeRow(row));
      }
    } catch (error) {
      throw toDomainError(error, "read how tasks ended");
    }
    return found;
  }

  cacheSources(tenant: string, cacheKey: string, limit: number): Promise<Task[]> {
    return this.#intact("look for an equal task", (query) =>
      query
        .where("task.tenant", "=", tenant)
        .where("task.cache_key", "=", cacheKey)
        .where("task.state", "=", sql.lit("SUCCEEDED"))
        .where("task.cached_from", "is", null)
        .orderBy("task.id", "desc")
        .limit(limit),
    );
  }

  async lastRuns(tenant: string, programDigest: string, limit: number): Promise<number[]> {
    try {
      const rows = await this.#database
        .selectFrom("task")
        .select(["start_time", "end_time"])
        .where("tenant", "=", tenant)
        .where("program_digest", "=", programDigest)
        // A literal, because a bound value would not let SQLite use the partial index.
        .where("state", "=", sql.lit("SUCCEEDED"))
        .where("start_time", "is not", null)
        .orderBy("id", "desc")
        .limit(limit)
        .execute();
      return rows.map((row) => Math.max(0, whole.parse(row.end_time ?? 0) - whole.parse(row.start_time)));
    } catch (error) {
      throw toDomainError(error, "read earlier runs");
    }
  }

  async knownSandboxes(ids: readonly string[]): Promise<Set<string>> {
    const known = new Set<string>();
    try {
      for (const some of portions(ids)) {
        const rows = await this.#database
          .selectFrom("attempt")
          .select("sandbox_id")
          .where("sandbox_id", "in", some)
          .execute();
        for (const row of rows) known.add(row.sandbox_id);
        const read = await this.#database
          .selectFrom("task")
          .select("output_sandbox_id")
          .where("output_sandbox_id", "in", some)
          .execute();
        for (const row of read) if (row.output_sandbox_id !== null) known.add(row.output_sandbox_id);
      }
    } catch (error) {
      throw toDomainError(error, "look for the tasks of sandboxes");
    }
    return known;
  }

  remove(id: string, event?: AuditEvent): Promise<boolean> {
    return this.#writer.run(`remove task ${id}`, async (connection) => {
      const { numDeletedRows } = await connection
        .deleteFrom("task")
        .where("id", "=", id)
        .executeTakeFirstOrThrow();
      if (numDeletedRows === 0n) return false;
      if (event !== undefined) await insertAudit(connection, event);
      return true;
    });
  }

  async #intact(doing: string, restrict: (query: TaskSelection) => TaskSelection): Promise<Task[]> {
    const records = await this.#reader.load(doing, restrict);
    return records.filter((record): record is Task => !isDamaged(record));
  }
}

async function whyNotInserted(connection: Kysely<Tables>, task: Task): Promise<Error> {
  const holder =
    task.spec.requestId === ""
      ? undefined
      : await connection
          .selectFrom("task")
          .select("id")
          .where("tenant", "=", task.tenant)
          .where("request_id", "=", task.spec.requestId)
          .executeTakeFirst();
  return holder === undefined
    ? new SystemFault(`there is already a task ${task.id}; ids must be unique`)
    : new RequestIdTaken(holder.id);
}

function toSpecRow(task: Task) {
  return {
    task_id: task.id,
    spec: JSON.stringify(task.spec),
    program: JSON.stringify(task.program),
    inputs: task.inputs.length === 0 ? null : JSON.stringify(task.inputs),
    environment: task.environment === null ? null : JSON.stringify(task.environment),
  };
}

async function rewriteSpec(connection: Kysely<Tables>, task: Task): Promise<void> {
  const { spec, program, inputs, environment } = toSpecRow(task);
  await connection
    .updateTable("task_spec")
    .set({ spec, program, inputs, environment })
    .where("task_id", "=", task.id)
    .execute();
  await connection.deleteFrom("task_label").where("task_id", "=", task.id).execute();
  await insertLabels(connection, task);
  await connection.deleteFrom("task_input").where("task_id", "=", task.id).execute();
  await insertInputs(connection, task);
}

async function insertInputs(connection: Kysely<Tables>, { id, tenant, inputs }: Task): Promise<void> {
  const digests = new Set(inputs.map(({ sha256 }) => sha256).filter((sha256) => sha256 !== ""));
  const rows = [...digests].map((sha256) => ({ task_id: id, tenant, sha256 }));
  if (rows.length > 0) await connection.insertInto("task_input").values(rows).execute();
}

async function insertLabels(connection: Kysely<Tables>, task: Task): Promise<void> {
  const rows = Object.entries(task.spec.labels).map(([key, value]) => ({
    task_id: task.id,
    tenant: task.tenant,
    key,
    value,
  }));
  if (rows.length > 0) await connection.insertInto("task_label").values(rows).execute();
}

async function writeAttempts(
  connection: Kysely<Tables>,
  task: Task,
  previous: readonly Attempt[],
): Promise<void> {
  const before = new Map(previous.map((attempt) => [attempt.number, attempt]));
  for (const attempt of task.attempts) {
    const known = before.get(attempt.number);
    before.delete(attempt.number);
    if (known === attempt) continue;
    const row = toAttemptRow(task.id, attempt);
    if (known === undefined) await connection.insertInto("attempt").values(row).execute();
    else {
      await connection
        .updateTable("attempt")
        .set(row)
        .where("task_id", "=", task.id)
        .where("number", "=", attempt.number)
        .execute();
    }
  }
  if (before.size === 0) return;
  await connection
    .deleteFrom("attempt")
    .where("task_id", "=", task.id)
    .where("number", "in", [...before.keys()])
    .execute();
}

async function writeStages(
  connection: Kysely<Tables>,
  task: Task,
  previous: readonly Stage[],
): Promise<void> {
  for (const [position, stage] of task.stages.entries()) {
    if (previous[position] === stage) continue;
    const row = toStageRow(task.id, stage, position);
    if (position >= previous.length) await connection.insertInto("stage").values(row).execute();
    else {
      await connection
        .updateTable("stage")
        .set(row)
        .where("task_id", "=", task.id)
        .where("position", "=", position)
        .execute();
    }
  }
  if (previous.length <= task.stages.length) return;
  await connection
    .deleteFrom("stage")
    .where("task_id", "=", task.id)
    .where("position", ">=", task.stages.length)
    .execute();
}

/** In one transaction with the task's ending, so that a source removed at the same time takes nothing along. */
async function copyArtifacts(connection: Kysely<Tables>, task: Task): Promise<void> {
  const source = await connection
    .selectFrom("task")
    .select("id")
    .where("id", "=", task.cachedFrom)
    .where("tenant", "=", task.tenant)
    .executeTakeFirst();
  if (source === undefined) throw new SourceGone(task.cachedFrom);
  await connection
    .insertInto("artifact")
    .columns(["task_id", "path", "tenant", "size_bytes", "sha256"])
    .expression((query) =>
      query
        .selectFrom("artifact")
        .select(({ val, ref }) => [
          val(task.id).as("task_id"),
          ref("path").as("path"),
          ref("tenant").as("tenant"),
          ref("size_bytes").as("size_bytes"),
          ref("sha256").as("sha256"),
        ])
        .where("task_id", "=", task.cachedFrom),
    )
    .execute();
}

async function insertEvent(connection: Kysely<Tables>, task: Task, time: Date): Promise<void> {
  await connection
    .insertInto("task_event")
    .values({ task_id: task.id, version: task.version, time: time.getTime(), state: task.state })
    .execute();
}
