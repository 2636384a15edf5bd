import type { Task, Wait } from "../domain/task.ts";
import type { Dependencies } from "./dependencies.ts";
import type { Scheduler } from "./scheduler.ts";
import type { TaskDeadlines } from "./task-deadlines.ts";

/** Every queued task: those that wait for other tasks, and those in line for room on a host. */
export class TaskQueue {
  readonly #dependencies: Dependencies;
  readonly #scheduler: Scheduler;
  readonly #deadlines: TaskDeadlines;

  constructor(deps: { dependencies: Dependencies; scheduler: Scheduler; deadlines: TaskDeadlines }) {
    this.#dependencies = deps.dependencies;
    this.#scheduler = deps.scheduler;
    this.#deadlines = deps.deadlines;
  }

  get count(): number {
    return this.#dependencies.waitingCount + this.#scheduler.queuedCount;
  }

  has(taskId: string): boolean {
    return this.#dependencies.has(taskId) || this.#scheduler.has(taskId);
  }

  /** Takes in a queued task: a new one, one from before a restart, one that is to be tried again. */
  enter(task: Task): void {
    if (!this.#dependencies.holdBack(task)) this.#scheduler.enqueue(task);
    this.#deadlines.watch(task);
  }

  /** Nothing holds the task up any more but its turn. */
  goOn(task: Task): void {
    this.#scheduler.enqueue(task);
    this.#deadlines.watch(task);
  }

  /** Takes out a task that has ended; does nothing when it was started or never queued. */
  remove(taskId: string): void {
    this.#dependencies.release(taskId);
    this.#scheduler.remove(taskId);
  }

  /** Why a task waits; undefined when it is not queued. */
  waitOf(taskId: string): Wait | undefined {
    return this.#dependencies.waitOf(taskId) ?? this.#scheduler.waitOf(taskId);
  }
}
