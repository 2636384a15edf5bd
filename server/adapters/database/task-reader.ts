import { type Kysely, type SelectQueryBuilder, sql } from "kysely";
import type { TaskPage, TaskQuery } from "../../domain/ports/task-store.ts";
import { type DamagedTask, isDamaged, type TaskRecord } from "../../domain/task-record.ts";
import { toDomainError } from "./fault.ts";
import type { Tables } from "./schema.ts";
import { pageOfIds } from "./task-page.ts";
import { type AttemptColumns, fromRows, type StageColumns, type StoredTask } from "./task-row.ts";

/** Well below the 32,766 parameters of one SQLite statement. */
const IDS_PER_QUERY = 500;
/** What specs may hold of code and input is megabytes each, and a page is in memory as a whole. */
const MOST_PAGE_BYTES = 8 * 2 ** 20;
/** Of damaged ones told, so that each is told once. */
const MOST_TOLD = 10_000;

export type TaskSelection = SelectQueryBuilder<Tables, "task" | "task_spec", StoredTask>;

/** Reads tasks with their attempts and stages. What cannot be read of one leaves the others as they are. */
export class TaskReader {
  readonly #database: Kysely<Tables>;
  readonly #onDamaged: (task: DamagedTask) => void;
  readonly #told = new Set<string>();

  constructor(database: Kysely<Tables>, onDamaged: (task: DamagedTask) => void) {
    this.#database = database;
    this.#onDamaged = onDamaged;
  }

  async load(doing: string, restrict: (query: TaskSelection) => TaskSelection): Promise<TaskRecord[]> {
    try {
      const rows = await restrict(
        this.#database
          .selectFrom("task")
          // Not an inner join: a row that lost its spec is damaged, and would be missing from its page.
          .leftJoin("task_spec", "task_spec.task_id", "task.id")
          .selectAll("task")
          .select(["task_spec.spec", "task_spec.program", "task_spec.inputs", "task_spec.environment"]),
      ).execute();
      const ids = rows.map((row) => row.id);
      const [attempts, stages] = [await this.#attempts(ids), await this.#stages(ids)];
      const records = rows.map((row) => fromRows(row, attempts.get(row.id) ?? [], stages.get(row.id) ?? []));
      for (const record of records) if (isDamaged(record)) this.#tell(record);
      return records;
    } catch (error) {
      throw toDomainError(error, doing);
    }
  }

  async page(query: TaskQuery): Promise<TaskPage> {
    const doing = "list tasks";
    const sized = await this.#sizes(doing, query);
    let bytes = 0;
    const ids = sized
      .slice(0, query.limit)
      .filter((row, index) => {
        bytes += Number(row.bytes ?? 0);
        return index === 0 || bytes <= MOST_PAGE_BYTES;
      })
      .map(({ id }) => id);
    const records: TaskRecord[] = [];
    for (const some of portions(ids))
      records.push(
        ...(await this.load(doing, (tasks) => tasks.where("task.id", "in", some).orderBy("task.id", "desc"))),
      );
    return { records, nextAfterId: ids.length < sized.length ? (ids.at(-1) ?? "") : "" };
  }

  /** One more than the page may hold, which tells whether there is a next one. */
  async #sizes(doing: string, query: TaskQuery) {
    const limit = query.limit + 1;
    try {
      return await this.#database
        .selectFrom("task")
        .leftJoin("task_spec", "task_spec.task_id", "task.id")
        .select(["task.id", sql<unknown>`octet_length(task_spec.spec)`.as("bytes")])
        .where("task.id", "in", pageOfIds(this.#database, { ...query, limit }))
        .orderBy("task.id", "desc")
        .limit(limit)
        .execute();
    } catch (error) {
      throw toDomainError(error, doing);
    }
  }

  async #attempts(taskIds: readonly string[]): Promise<Map<string, AttemptColumns[]>> {
    const found = new Map<string, AttemptColumns[]>();
    for (const ids of portions(taskIds)) {
      const rows = await this.#database
        .selectFrom("attempt")
        .selectAll()
        .where("task_id", "in", ids)
        .orderBy("task_id")
        .orderBy("number")
        .execute();
      for (const row of rows) append(found, row.task_id, row);
    }
    return found;
  }

  async #stages(taskIds: readonly string[]): Promise<Map<string, StageColumns[]>> {
    const found = new Map<string, StageColumns[]>();
    for (const ids of portions(taskIds)) {
      const rows = await this.#database
        .selectFrom("stage")
        .selectAll()
        .where("task_id", "in", ids)
        .orderBy("task_id")
        .orderBy("position")
        .execute();
      for (const row of rows) append(found, row.task_id, row);
    }
    return found;
  }

  #tell(task: DamagedTask): void {
    if (this.#told.has(task.id) || this.#told.size === MOST_TOLD) return;
    this.#told.add(task.id);
    this.#onDamaged(task);
  }
}

export function* portions(ids: readonly string[]): Iterable<string[]> {
  for (let start = 0; start < ids.length; start += IDS_PER_QUERY)
    yield ids.slice(start, start + IDS_PER_QUERY);
}

function append<T>(groups: Map<string, T[]>, key: string, item: T): void {
  const group = groups.get(key);
  if (group === undefined) groups.set(key, [item]);
  else group.push(item);
}
