import { Task_State, TaskResult_Reason } from "@longshore/proto/longshore/v1/task";
import type { FieldViolation } from "./errors.ts";
import { InvalidRequest } from "./errors.ts";
import { listOf } from "./lists.ts";
import type { StateName } from "./names.ts";

const STATES: ReadonlyMap<string, Task_State> = new Map(
  Object.entries(Task_State)
    .filter(([name]) => name !== "UNSPECIFIED")
    .map(([name, value]) => [name.toLowerCase(), value]),
);

/** States by their names; each that is none is one more violation. */
export function readStates(
  field: string,
  names: readonly StateName[],
  violations: FieldViolation[],
): Task_State[] {
  return names.flatMap((name) => {
    const state = STATES.get(name.toLowerCase());
    if (state !== undefined) return [state];
    const description = `"${name}" is not one of ${[...STATES.keys()].join(", ")}`;
    violations.push({ field, description });
    return [];
  });
}

/** The same where there is nothing else that could be wrong. Throws InvalidRequest. */
export function statesOf(names: readonly StateName[]): Task_State[] {
  const violations: FieldViolation[] = [];
  const states = readStates("states", listOf("states", names, violations), violations);
  if (violations.length > 0) throw new InvalidRequest(violations);
  return states;
}

/** Why tasks ended, by the names that `reasonName` answers. Throws InvalidRequest. */
export function reasonsOf(names: readonly string[]): TaskResult_Reason[] {
  const known = Object.entries(TaskResult_Reason).filter(([name]) => name !== "UNSPECIFIED");
  const violations: FieldViolation[] = [];
  const reasons = listOf("reasons", names, violations).flatMap((name) => {
    const found = known.find(([each]) => each === name.toUpperCase());
    if (found !== undefined) return [found[1]];
    const description = `"${name}" is not one of ${known.map(([each]) => each).join(", ")}`;
    violations.push({ field: "reasons", description });
    return [];
  });
  if (violations.length > 0) throw new InvalidRequest(violations);
  return reasons;
}
