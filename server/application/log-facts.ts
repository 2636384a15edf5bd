import type { Task } from "../domain/task.ts";

/** What every line about a task begins with, so that its lines are found by its id and beside its spans. */
export function factsOf({ id, traceId }: Pick<Task, "id" | "traceId">): { task: string; trace_id: string } {
  return { task: id, trace_id: traceId };
}
