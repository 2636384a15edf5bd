import { Task_State, type Task as TaskRecord } from "@longshore/proto/longshore/v1/task";
import { reasonName, type StateName, stateName } from "./names.ts";

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

export function outcomeOf(record: TaskRecord): TaskOutcome {
  const result = record.result;
  const reason = result === undefined ? "" : reasonName(result.reason);
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
