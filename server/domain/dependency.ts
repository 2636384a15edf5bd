import type { ResultReason, Task, TaskSpec, TaskState } from "./task.ts";
import { isTerminal } from "./task.ts";

/** More would hide a mistake in a pipeline rather than serve one; a step in between gathers any number. */
export const MAX_DEPENDENCIES = 100;
const UNSTARTED = " did not start: ";
const MOST_MESSAGE = 400;

/** Where another task stands, as far as it matters to those that wait for it. */
export interface TaskOutcome {
  readonly id: string;
  readonly tenant: string;
  readonly state: TaskState;
  /** Null while it has not ended. */
  readonly endTime: Date | null;
  readonly reason: ResultReason | null;
  readonly message: string;
}

export function outcomeOf({ id, tenant, state, endTime, result }: Task): TaskOutcome {
  return { id, tenant, state, endTime, reason: result?.reason ?? null, message: result?.message ?? "" };
}

/** For a task that is in no record any more. */
export function outcomeOfDeleted(id: string, tenant: string): TaskOutcome {
  return { id, tenant, state: "CANCELLED", endTime: null, reason: null, message: "it was deleted" };
}

/** For a task whose record cannot be read: it never comes to an end that is known. */
export function outcomeOfDamaged({ id, tenant }: Pick<TaskOutcome, "id" | "tenant">): TaskOutcome {
  const message = "its record cannot be read";
  return { id, tenant, state: "FAILED", endTime: null, reason: "SYSTEM_ERROR", message };
}

/** Ids of the tasks that a task waits for, each once: those it names, and those whose artifacts it takes. */
export function needsOf(spec: TaskSpec): string[] {
  const sources = spec.inputs.flatMap((input) => (input.kind === "artifact" ? [input.taskId] : []));
  return [...new Set([...spec.dependsOn, ...sources])];
}

/**
 * Whether what a task waited for came to an end that lets it start. An artifact of a task that had failed before is there all
 * the same, so that a source named by an input alone holds nothing up when it had ended already.
 */
export function allowsStart(task: Pick<Task, "spec" | "createTime">, outcome: TaskOutcome): boolean {
  if (outcome.state === "SUCCEEDED") return true;
  const { id, endTime } = outcome;
  return !task.spec.dependsOn.includes(id) && endTime !== null && endTime <= task.createTime;
}

/** The sentence for the record of a task that could not start: which one stood in its way, and what first went wrong. */
export function describeLost(outcome: TaskOutcome): string {
  const { id, state, reason } = outcome;
  const message = outcome.message.slice(0, MOST_MESSAGE);
  if (reason === "DEPENDENCY_FAILED") {
    // Its own message begins with the names of those between; the first cause is what helps, however long the chain.
    const at = message.indexOf(UNSTARTED);
    const cause = at < 0 ? message : message.slice(at + UNSTARTED.length);
    return `task ${id}, which it depends on,${UNSTARTED}${cause}`;
  }
  const ended = isTerminal(state) && reason !== null ? state.toLowerCase() : "is gone";
  const verb = state === "CANCELLED" && reason !== null ? "was cancelled" : ended;
  return `task ${id}, which it depends on, ${verb}${message === "" ? "" : `: ${message}`}`;
}
