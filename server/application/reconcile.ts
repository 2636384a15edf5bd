import type { Hold } from "../domain/capacity.ts";
import type { TaskStore } from "../domain/ports/task-store.ts";
import type { Log } from "../domain/ports/telemetry.ts";
import { isTerminal, type Task } from "../domain/task.ts";
import { currentAttempt } from "../domain/transition.ts";
import type { EngineHost, EngineHosts } from "./engine-host.ts";
import type { RunAttempts } from "./run-attempts.ts";
import type { Scheduler } from "./scheduler.ts";
import type { TaskBook } from "./task-book.ts";
import type { TaskDeadlines } from "./task-deadlines.ts";

/** What a start found of the time before. */
export interface ReconcileReport {
  readonly time: Date;
  readonly queued: number;
  readonly adopted: number;
  readonly cleaned: number;
  readonly leftovers: number;
}

/** Takes up at start what an earlier server left: adopts what runs, collects what ended, removes only what is ours. */
export class Reconcile {
  readonly #book: TaskBook;
  readonly #store: TaskStore;
  readonly #hosts: EngineHosts;
  readonly #scheduler: Scheduler;
  readonly #attempts: RunAttempts;
  readonly #deadlines: TaskDeadlines;
  readonly #log: Log;
  readonly #clock: () => Date;

  constructor(deps: {
    book: TaskBook;
    store: TaskStore;
    hosts: EngineHosts;
    scheduler: Scheduler;
    attempts: RunAttempts;
    deadlines: TaskDeadlines;
    log: Log;
    clock: () => Date;
  }) {
    this.#book = deps.book;
    this.#store = deps.store;
    this.#hosts = deps.hosts;
    this.#scheduler = deps.scheduler;
    this.#attempts = deps.attempts;
    this.#deadlines = deps.deadlines;
    this.#log = deps.log;
    this.#clock = deps.clock;
  }

  async boot(): Promise<ReconcileReport> {
    const tasks = await this.#store.unfinished();
    const counts = { queued: 0, adopted: 0, cleaned: 0 };
    const wanted = new Set(tasks.flatMap((task) => task.attempts.map((attempt) => attempt.sandboxId)));
    const leftovers = await this.#removeLeftovers(wanted);
    for (const task of tasks) {
      this.#book.adopt(task);
      counts.cleaned += this.#release(task);
      const attempt = currentAttempt(task);
      if (attempt !== undefined) {
        const host = this.#hosts.get(attempt.engine);
        const hold: Hold = { taskId: task.id, resources: task.limits, gpuIds: attempt.gpuIds };
        host.ledger.adopt(hold);
        this.#attempts.adopt(task, attempt, host, hold);
        counts.adopted++;
      } else if (!isTerminal(task.state)) {
        this.#scheduler.enqueue(task);
        this.#deadlines.watch(task);
        counts.queued++;
      }
    }
    const report = { time: this.#clock(), ...counts, leftovers };
    this.#log.info("reconciled", { ...counts, leftovers });
    return report;
  }

  /** Attempts that ended but whose sandbox was not removed. */
  #release(task: Task): number {
    const ended = task.attempts.filter((attempt) => attempt.endTime !== null && !attempt.released);
    for (const attempt of ended) this.#attempts.releaseLater(this.#hosts.get(attempt.engine), task, attempt);
    return ended.length;
  }

  async #removeLeftovers(wanted: ReadonlySet<string>): Promise<number> {
    const removed = await Promise.all(this.#hosts.all().map((host) => this.#removeFrom(host, wanted)));
    return removed.reduce((sum, count) => sum + count, 0);
  }

  /** Sandboxes with our label that no attempt names: warm ones of the server before, and halves of a start. */
  async #removeFrom(host: EngineHost, wanted: ReadonlySet<string>): Promise<number> {
    const left = (await host.engine.list()).filter((sandbox) => !wanted.has(sandbox.id));
    for (const sandbox of left) {
      await host.engine.release(sandbox.id);
      await host.engine.files.remove(sandbox.id);
    }
    return left.length;
  }
}
