import type { Task, Wait } from "../domain/task.ts";
import type { Dependencies } from "./dependencies.ts";
import type { Environments } from "./environments.ts";
import type { ResultCache } from "./result-cache.ts";
import type { Scheduler } from "./scheduler.ts";
import type { TaskDeadlines } from "./task-deadlines.ts";

/**
 * Every queued task: those that wait for other tasks, those that may be answered from one, those that wait for their environment, and
 * those in line for room on a host.
 */
export class TaskQueue {
  readonly #dependencies: Dependencies;
  readonly #cache: ResultCache;
  readonly #environments: Environments;
  readonly #scheduler: Scheduler;
  readonly #deadlines: TaskDeadlines;

  constructor(deps: {
    dependencies: Dependencies;
    cache: ResultCache;
    environments: Environments;
    scheduler: Scheduler;
    deadlines: TaskDeadlines;
  }) {
    this.#dependencies = deps.dependencies;
    this.#cache = deps.cache;
    this.#environments = deps.environments;
    this.#scheduler = deps.scheduler;
    this.#deadlines = deps.deadlines;
  }

  get count(): number {
    const waiting = [this.#dependencies, this.#cache, this.#environments];
    return waiting.reduce((sum, { waitingCount }) => sum + waitingCount, this.#scheduler.queuedCount);
  }

  has(taskId: string): boolean {
    return [this.#dependencies, this.#cache, this.#environments, this.#scheduler].some((one) =>
      one.has(taskId),
    );
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
    if (answer === undefined) this.prepare(task);
    return answer;
  }

  /** For a task that has to run. */
  prepare(task: Task): void {
    if (!this.#environments.holdBack(task)) this.#scheduler.enqueue(task);
  }

  /** Nothing holds the task up any more but its turn. */
  lineUp(task: Task): void {
    this.#scheduler.enqueue(task);
  }

  /** Takes out a task that has ended; does nothing when it was started or never queued. */
  remove(taskId: string): void {
    this.#dependencies.release(taskId);
    this.#environments.release(taskId);
    this.#scheduler.remove(taskId);
  }

  /** Why a task waits; undefined when it is not queued. */
  waitOf(taskId: string): Wait | undefined {
    return (
      this.#dependencies.waitOf(taskId) ??
      this.#cache.waitOf(taskId) ??
      this.#environments.waitOf(taskId) ??
      this.#scheduler.waitOf(taskId)
    );
  }
}
