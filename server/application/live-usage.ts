import type { UsageSample } from "../domain/journal.ts";
import type { Task, Usage } from "../domain/task.ts";
import { currentAttempt } from "../domain/transition.ts";
import { Changes } from "./changes.ts";

/** What attempts under way have used, as their runners last told. In memory alone: a restart reads it from the journals again. */
export class LiveUsage {
  readonly #usages = new Map<string, { readonly attempt: number; readonly usage: Usage }>();
  /** Tells that some task of a tenant used more, by tenant. */
  readonly changes = new Changes();

  note(
    { id, tenant }: Task,
    attempt: number,
    sample: UsageSample,
    known: Pick<Usage, "logBytes" | "chargedMillis">,
  ): void {
    const before = this.#usages.get(id);
    const peaks = before?.attempt === attempt ? before.usage : undefined;
    const usage: Usage = {
      cpuMicros: sample.cpuMicros,
      peakRamBytes: Math.max(sample.ramBytes, peaks?.peakRamBytes ?? 0),
      peakStorageBytes: Math.max(sample.storageBytes, peaks?.peakStorageBytes ?? 0),
      peakProcesses: Math.max(sample.processes, peaks?.peakProcesses ?? 0),
      ...known,
      charge: null,
    };
    this.#usages.set(id, { attempt, usage });
    this.changes.tell(tenant);
  }

  /** The attempt is over, and the record says what it used. */
  forget(taskId: string): void {
    this.#usages.delete(taskId);
  }

  /** The task with what its present attempt has used so far. */
  present(task: Task): Task {
    const live = this.#usages.get(task.id);
    const current = currentAttempt(task);
    if (live === undefined || current === undefined || current.number !== live.attempt) return task;
    const attempts = task.attempts.map((attempt) =>
      attempt.number === live.attempt ? { ...attempt, usage: live.usage } : attempt,
    );
    return { ...task, attempts };
  }
}
