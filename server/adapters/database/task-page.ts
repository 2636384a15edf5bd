import type { Kysely, SelectQueryBuilder } from "kysely";
import type { TaskQuery } from "../../domain/ports/task-store.ts";
import type { ResultReason, TaskState } from "../../domain/task.ts";
import type { Tables } from "./schema.ts";

type Ids = SelectQueryBuilder<Tables, "task", { id: string }>;

/** The part of a query that one walk along an index answers. */
interface Walk {
  readonly states: readonly TaskState[];
  readonly reasons: readonly ResultReason[];
}

/**
 * The ids of one page, as a subquery: at least the newest `limit` that match, so sort and limit once more.
 * A page must cost what it shows, not what the table holds: every walk starts at the newest id of an index and stops
 * after `limit` matches. `in` over several states would walk all tasks of the tenant, so each state gets its own.
 */
export function pageOfIds(database: Kysely<Tables>, query: TaskQuery): Ids {
  const { states, reasons } = query;
  const walks: Walk[] =
    reasons.length > 0
      ? reasons.map((reason) => ({ states, reasons: [reason] }))
      : states.map((state) => ({ states: [state], reasons }));
  const [first = { states, reasons }, ...rest] = Object.keys(query.labels).length > 0 ? [] : walks;
  const page = (walk: Walk) =>
    database.selectFrom(walked(database, query, walk).as("task")).select("task.id");
  return rest.reduce<Ids>((union, walk) => union.unionAll(page(walk)), page(first));
}

function walked(database: Kysely<Tables>, query: TaskQuery, walk: Walk): Ids {
  const [label, ...labels] = Object.entries(query.labels);
  let tasks = label === undefined ? newest(database, query) : newestLabelled(database, query, label);
  for (const [key, value] of labels) {
    // Not `exists`: SQLite makes a join of it, walks that label instead and has to sort.
    tasks = tasks.where(
      ({ selectFrom }) =>
        selectFrom("task_label as other")
          .select("other.value")
          .whereRef("other.task_id", "=", "task.id")
          .where("other.key", "=", key),
      "=",
      value,
    );
  }
  tasks = tasks.where("task.tenant", "=", query.tenant).limit(query.limit);
  if (query.owner !== "") tasks = tasks.where("task.owner", "=", query.owner);
  if (walk.states.length > 0) tasks = tasks.where("task.state", "in", walk.states);
  if (walk.reasons.length > 0) tasks = tasks.where("task.result_reason", "in", walk.reasons);
  if (query.createdAfter !== null)
    tasks = tasks.where("task.create_time", ">=", query.createdAfter.getTime());
  if (query.createdBefore !== null)
    tasks = tasks.where("task.create_time", "<", query.createdBefore.getTime());
  return tasks;
}

function newest(database: Kysely<Tables>, { afterId }: TaskQuery): Ids {
  const tasks = database.selectFrom("task").select("task.id").orderBy("task.id", "desc");
  return afterId === "" ? tasks : tasks.where("task.id", "<", afterId);
}

/** A label's index is in the order of the ids as well, and what has the label is as a rule less than all. */
function newestLabelled(
  database: Kysely<Tables>,
  query: TaskQuery,
  [key, value]: readonly [string, string],
): Ids {
  const tasks = database
    .selectFrom("task")
    .innerJoin("task_label", "task_label.task_id", "task.id")
    .select("task.id")
    .where("task_label.tenant", "=", query.tenant)
    .where("task_label.key", "=", key)
    .where("task_label.value", "=", value)
    .orderBy("task_label.task_id", "desc");
  return query.afterId === "" ? tasks : tasks.where("task_label.task_id", "<", query.afterId);
}
