import {
  Task_State,
  type Task as TaskRecord,
  task_StateToJSON,
  taskResult_ReasonToJSON,
} from "@longshore/proto/longshore/v1/task";

/** Where a task stands, in lower case; a state of a newer server reads as its number. */
export type StateName =
  | "queued"
  | "preparing"
  | "running"
  | "collecting"
  | "cancelling"
  | "succeeded"
  | "failed"
  | "cancelled"
  | (string & {});

/** How a task ended, as a record, not as an exception. */
export interface TaskOutcome {
  readonly id: string;
  readonly state: StateName;
  readonly succeeded: boolean;
  /** longshore.v1.TaskResult.Reason without its prefix, such as "EXITED" or "OUT_OF_MEMORY". */
  readonly reason: string;
  readonly exitCode: number | undefined;
  readonly signal: number | undefined;
  /** One sentence: what happened. */
  readonly message: string;
  /** One sentence: what to do next; may be empty. */
  readonly advice: string;
  /** Last 4 KiB of standard output: all of a short task's output. */
  readonly stdoutTail: string;
  readonly stderrTail: string;
  /** The whole record. */
  readonly record: TaskRecord;
}

const TERMINAL: readonly Task_State[] = [Task_State.SUCCEEDED, Task_State.FAILED, Task_State.CANCELLED];

export function isTerminal(record: TaskRecord): boolean {
  return TERMINAL.includes(record.state);
}

/** Names an enum's value without the prefix its protos need; values of a newer server have none. */
function nameOf<T extends number>(value: T, prefix: string, toName: (value: T) => string): string {
  try {
    return toName(value).slice(prefix.length);
  } catch {
    // The generated function throws on values that it does not know.
    return String(value);
  }
}

export function stateName(state: Task_State): StateName {
  return nameOf(state, "STATE_", task_StateToJSON).toLowerCase();
}

export function outcomeOf(record: TaskRecord): TaskOutcome {
  const result = record.result;
  const reason = result === undefined ? "" : nameOf(result.reason, "REASON_", taskResult_ReasonToJSON);
  return {
    id: record.id,
    state: stateName(record.state),
    succeeded: record.state === Task_State.SUCCEEDED,
    reason,
    exitCode: result?.exitCode,
    signal: result?.signal,
    message: result?.message ?? "",
    advice: result?.advice ?? "",
    stdoutTail: result?.stdoutTail ?? "",
    stderrTail: result?.stderrTail ?? "",
    record,
  };
}
