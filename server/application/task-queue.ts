import type { Task, Wait } from "../domain/task.ts";
import type { Dependencies } from "./dependencies.ts";
import type { ResultCache } from "./result-cache.ts";
import type { Scheduler } from "./scheduler.ts";
import type { TaskDeadlines } from "./task-deadlines.ts";

/** Every queued task: those that wait for other tasks, those that may be answered from one, and those in line for room on a host. */
export class TaskQueue {
  readonly #dependencies: Dependencies;
  readonly #cache: ResultCache;
  readonly #scheduler: Scheduler;
  readonly #deadlines: TaskDeadlines;

  constructor(deps: {
    dependencies: Dependencies;
    cache: ResultCache;
    scheduler: Scheduler;
    deadlines: TaskDeadlines;
  }) {
    this.#dependencies = deps.dependencies;
    this.#cache = deps.cache;
    this.#scheduler = deps.scheduler;
    this.#deadlines = deps.deadlines;
  }

  get count(): number {
    return this.#dependencies.waitingCount + this.#cache.waitingCount + this.#scheduler.queuedCount;
  }

  has(taskId: string): boolean {
    return this.#dependencies.has(taskId) || this.#cache.has(taskId) || this.#scheduler.has(taskId);
  }

  /**
   * Takes in a queued task: a new one, one from before a restart, one that is to be tried again. Where it may be answered from the
   * result cache, the promise settles when that is known; it never rejects.
   */
  enter(task: Task): Promise<void> | undefined {
    if (!this.#dependencies.holdBack(task)) return this.goOn(task);
    this.#deadlines.watch(task);
    return undefined;
  }

  /** As `enter`, for a task whose dependencies hold it up no more. */
  goOn(task: Task): Promise<void> | undefined {
    this.#deadlines.watch(task);
    const answer = this.#cache.enter(task);
    if (answer === undefined) this.#scheduler.enqueue(task);
    return answer;
  }

  /** Takes out a task that has ended; does nothing when it was started or never queued. */
  remove(taskId: string): void {
    this.#dependencies.release(taskId);
    this.#scheduler.remove(taskId);
  }

  /** Why a task waits; undefined when it is not queued. */
  waitOf(taskId: string): Wait | undefined {
    return this.#dependencies.waitOf(taskId) ?? this.#cache.waitOf(taskId) ?? this.#scheduler.waitOf(taskId);
  }
}
