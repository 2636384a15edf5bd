import { RecordDamaged } from "./errors.ts";
import type { Task, TaskState } from "./task.ts";

/** What is left of a task whose record cannot be read: a failing disk or a person has changed it, or a version that never was released. */
export interface DamagedTask {
  readonly id: string;
  readonly tenant: string;
  readonly owner: string;
  /** Null where even that cannot be read. */
  readonly state: TaskState | null;
  readonly createTime: Date | null;
  readonly endTime: Date | null;
  /** What cannot be read, and never its content. */
  readonly damage: string;
}

export type TaskRecord = Task | DamagedTask;

export function isDamaged(record: TaskRecord): record is DamagedTask {
  return "damage" in record;
}

/** For whoever needs the whole task. Throws RecordDamaged. */
export function intact(record: TaskRecord): Task {
  if (isDamaged(record)) throw new RecordDamaged(record.id, record.damage);
  return record;
}
