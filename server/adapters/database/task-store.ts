import { type Kysely, type SelectQueryBuilder, sql } from "kysely";
import type { AuditEvent } from "../../domain/audit.ts";
import type { TaskOutcome } from "../../domain/dependency.ts";
import { SystemFault } from "../../domain/errors.ts";
import { endedEntries } from "../../domain/ledger.ts";
import {
  RequestIdTaken,
  SourceGone,
  StaleTask,
  type TaskQuery,
  type TaskStore,
} from "../../domain/ports/task-store.ts";
import type { Attempt, Stage, Task } from "../../domain/task.ts";
import { insertAudit } from "./audit-log.ts";
import { toDomainError } from "./fault.ts";
import type { OutboxWriter } from "./outbox-writer.ts";
import type { Tables } from "./schema.ts";
import { pageOfIds } from "./task-page.ts";
import {
  changedColumns,
  fromAttemptRow,
  fromOutcomeRow,
  fromStageRow,
  fromTaskRow,
  type StoredTask,
  toAttemptRow,
  toStageRow,
  toTaskRow,
  whole,
} from "./task-row.ts";
import { writeLedger } from "./usage-ledger.ts";
import type { Writer } from "./writer.ts";

/** Well below the 32,766 parameters of one SQLite statement. */
const IDS_PER_QUERY = 500;

export class SqlTaskStore implements TaskStore {
  readonly #database: Kysely<Tables>;
  readonly #writer: Writer;
  readonly #outbox: OutboxWriter;
  readonly #now: () => Date;

  constructor(database: Kysely<Tables>, writer: Writer, outbox: OutboxWriter, now: () => Date) {
    this.#database = database;
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

  async get(id: string): Promise<Task | undefined> {
    const [task] = await this.#load(`read task ${id}`, (query) => query.where("task.id", "=", id));
    return task;
  }

  async findByRequestId(tenant: string, requestId: string): Promise<Task | undefined> {
    if (requestId === "") return undefined;
    const [task] = await this.#load(`find request id ${requestId}`, (query) =>
      query.where("task.tenant", "=", tenant).where("task.request_id", "=", requestId),
    );
    return task;
  }

  list(query: TaskQuery): Promise<Task[]> {
    const ids = pageOfIds(this.#database, query);
    return this.#load("list tasks", (tasks) =>
      tasks.where("task.id", "in", ids).orderBy("task.id", "desc").limit(query.limit),
    );
  }

  unfinished(): Promise<Task[]> {
    return this.#load("read unfinished tasks", (query) =>
      // A literal, because a bound value would not let SQLite use the partial index.
      query.where("task.unfinished", "=", sql.lit(1)).orderBy("task.id"),
    );
  }

  expired(time: Date, limit: number): Promise<Task[]> {
    return this.#load("read expired tasks", (query) =>
      query
        .where("task.expire_time", "<", time.getTime())
        .orderBy("task.expire_time")
        .orderBy("task.id")
        .limit(limit),
    );
  }

  lastEnded(limit: number): Promise<Task[]> {
    return this.#load("read the tasks that ended last", (query) =>
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
    return this.#load("look for an equal task", (query) =>
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

  async #load(doing: string, restrict: (query: TaskSelection) => TaskSelection): Promise<Task[]> {
    try {
      const rows = await restrict(
        this.#database
          .selectFrom("task")
          .innerJoin("task_spec", "task_spec.task_id", "task.id")
          .selectAll("task")
          .select(["task_spec.spec", "task_spec.program", "task_spec.inputs", "task_spec.environment"]),
      ).execute();
      const ids = rows.map((row) => row.id);
      const [attempts, stages] = [await this.#attempts(ids), await this.#stages(ids)];
      return rows.map((row) => fromTaskRow(row, attempts.get(row.id) ?? [], stages.get(row.id) ?? []));
    } catch (error) {
      throw toDomainError(error, doing);
    }
  }

  async #attempts(taskIds: readonly string[]): Promise<Map<string, Attempt[]>> {
    const found = new Map<string, Attempt[]>();
    for (const ids of portions(taskIds)) {
      const rows = await this.#database
        .selectFrom("attempt")
        .selectAll()
        .where("task_id", "in", ids)
        .orderBy("task_id")
        .orderBy("number")
        .execute();
      for (const row of rows) append(found, row.task_id, fromAttemptRow(row));
    }
    return found;
  }

  async #stages(taskIds: readonly string[]): Promise<Map<string, Stage[]>> {
    const found = new Map<string, Stage[]>();
    for (const ids of portions(taskIds)) {
      const rows = await this.#database
        .selectFrom("stage")
        .selectAll()
        .where("task_id", "in", ids)
        .orderBy("task_id")
        .orderBy("position")
        .execute();
      for (const row of rows) append(found, row.task_id, fromStageRow(row));
    }
    return found;
  }
}

type TaskSelection = SelectQueryBuilder<Tables, "task" | "task_spec", StoredTask>;

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

function* portions(ids: readonly string[]): Iterable<string[]> {
  for (let start = 0; start < ids.length; start += IDS_PER_QUERY)
    yield ids.slice(start, start + IDS_PER_QUERY);
}

function append<T>(groups: Map<string, T[]>, key: string, item: T): void {
  const group = groups.get(key);
  if (group === undefined) groups.set(key, [item]);
  else group.push(item);
}
