import { isSystemFault, type Task, type TaskResult, type Usage } from "../domain/task.ts";
import { currentAttempt } from "../domain/transition.ts";
import type { AttemptEnd } from "./attempt.ts";

/** What an attempt used. Only the time its code held the resources is charged, and nothing where the fault was ours. */
export function usageOf(result: TaskResult, seen: AttemptEnd | null, task: Task, time: Date): Usage {
  const begun = currentAttempt(task)?.runStartTime ?? seen?.runTime ?? null;
  const charged =
    begun === null || isSystemFault(result.reason) ? 0 : Math.max(0, time.getTime() - begun.getTime());
  return {
    cpuMicros: seen?.end?.cpuMicros ?? 0,
    peakRamBytes: seen?.end?.peakRamBytes ?? 0,
    peakStorageBytes: seen?.end?.peakStorageBytes ?? 0,
    peakProcesses: seen?.end?.peakProcesses ?? 0,
    logBytes: seen?.log.bytes ?? 0,
    chargedMillis: charged,
  };
}
