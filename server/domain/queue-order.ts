import type { Task } from "./task.ts";

/**
 * A task's place among those of its tenant, fixed when it is queued. Ageing needs no clock for it: a task of one more priority goes
 * as if it had come one ageing interval earlier, so that whoever waits is overtaken by fewer and fewer, and in the end by none.
 */
export interface QueueKey {
  /** The ageing interval that the task came in, earlier by its priority; the least goes first. */
  readonly level: number;
  readonly priority: number;
  /** Expected runs that are about as long go by age: learnt times differ a little each time. */
  readonly lengthClass: number;
  readonly id: string;
}

/** `agingMillis` 0 turns ageing off: priority alone decides. */
export function queueKey(task: Task, agingMillis: number): QueueKey {
  const { priority } = task.spec;
  const interval = agingMillis === 0 ? 0 : Math.floor(task.createTime.getTime() / agingMillis);
  // What nobody knows is taken for as long as it may be at most.
  const expected = Math.min(task.expectedMillis ?? task.limits.runMillis, task.limits.runMillis);
  const lengthClass = Math.floor(Math.log2(Math.max(1, expected / 1000)));
  return { level: interval - priority, priority, lengthClass, id: task.id };
}

/** What comes before a tenant's fair share is looked at; 0 where that decides. */
export function compareUrgency(a: QueueKey, b: QueueKey): number {
  return a.level - b.level || b.priority - a.priority;
}

export function compareWithin(a: QueueKey, b: QueueKey): number {
  return a.lengthClass - b.lengthClass || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0);
}

export function compareKeys(a: QueueKey, b: QueueKey): number {
  return compareUrgency(a, b) || compareWithin(a, b);
}
