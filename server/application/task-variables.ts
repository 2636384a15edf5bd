import type { Policy } from "../domain/policy.ts";
import type { Attempt, Task } from "../domain/task.ts";
import { trackingServerOf, trackingVariables } from "../domain/tracking.ts";
import { stageSpanId } from "./identity.ts";

/** The environment of a task's program, beside what the runner sets. What its owner gave wins over all but the trace it is in. */
export function taskVariables(
  task: Task,
  attempt: Attempt,
  secrets: Iterable<readonly [string, string]>,
  policy: Policy,
): Record<string, string> {
  const { spec, traceId } = task;
  return {
    ...telemetryVariables(task, attempt.number, policy.taskTelemetry),
    ...trackingVariables(spec, trackingServerOf(spec, policy), attempt),
    ...spec.env,
    ...Object.fromEntries(secrets),
    TRACEPARENT: `00-${traceId}-${stageSpanId(task.id, "run", attempt.number)}-01`,
  };
}

/** Only where the collector can be reached: without a network, an exporter would hold up the end of every program. */
function telemetryVariables(
  { id, network }: Task,
  attempt: number,
  settings: ReadonlyMap<string, string>,
): Record<string, string> {
  if (network !== "EGRESS" || settings.size === 0) return {};
  const own = `longshore.task.id=${id},longshore.attempt=${attempt}`;
  const given = settings.get("OTEL_RESOURCE_ATTRIBUTES") ?? "";
  return {
    ...Object.fromEntries(settings),
    OTEL_RESOURCE_ATTRIBUTES: given === "" ? own : `${given},${own}`,
  };
}
