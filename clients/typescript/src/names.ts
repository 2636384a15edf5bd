import { type Limit, limitToJSON } from "@longshore/proto/longshore/v1/resources";
import {
  type LimitSupport_Level,
  limitSupport_LevelToJSON,
} from "@longshore/proto/longshore/v1/system_service";
import {
  type Isolation,
  isolationToJSON,
  type Network,
  networkToJSON,
  type Stage_Name,
  stage_NameToJSON,
  type Task_State,
  type TaskResult_Reason,
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

/** An enum's value without the prefix that its proto needs. */
function nameOf<T extends number>(value: T, prefix: string, toName: (value: T) => string): string {
  try {
    return toName(value).slice(prefix.length);
  } catch {
    // The generated function throws on values of a newer server.
    return String(value);
  }
}

/** As in longshore.v1.TaskResult.Reason, such as "EXITED". */
export function reasonName(reason: TaskResult_Reason): string {
  return nameOf(reason, "REASON_", taskResult_ReasonToJSON);
}

export function stateName(state: Task_State): StateName {
  return nameOf(state, "STATE_", task_StateToJSON).toLowerCase();
}

export function stageName(name: Stage_Name): string {
  return nameOf(name, "NAME_", stage_NameToJSON).toLowerCase();
}

export function limitName(limit: Limit): string {
  return nameOf(limit, "LIMIT_", limitToJSON).toLowerCase();
}

/** "enforced", "advisory" or "unsupported". */
export function levelName(level: LimitSupport_Level): string {
  return nameOf(level, "LEVEL_", limitSupport_LevelToJSON).toLowerCase();
}

export function isolationName(isolation: Isolation): string {
  return nameOf(isolation, "ISOLATION_", isolationToJSON).toLowerCase();
}

export function networkName(network: Network): string {
  return nameOf(network, "NETWORK_", networkToJSON).toLowerCase();
}
