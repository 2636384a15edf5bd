import type { Hold } from "../domain/capacity.ts";
import type { TaskStore } from "../domain/ports/task-store.ts";
import type { Log } from "../domain/ports/telemetry.ts";
import type { ReconcileReport } from "../domain/reconcile-report.ts";
import { isTerminal, type Task } from "../domain/task.ts";
import { currentAttempt } from "../domain/transition.ts";
import type { Dependencies } from "./dependencies.ts";
import type { EngineHost, EngineHosts } from "./engine-host.ts";
import type { Environments } from "./environments.ts";
import { factsOf } from "./log-facts.ts";
import type { Removals } from "./removals.ts";
import type { ResultCache } from "./result-cache.ts";
import type { RunAttempts } from "./run-attempts.ts";
import type { Scheduler } from "./scheduler.ts";
import type { TaskBook } from "./task-book.ts";
import type { TaskQueue } from "./task-queue.ts";
import type { TenantQuota } from "./tenant-quota.ts";

const INTERVAL_MILLIS = 15_000;

export interface ReconcileDeps {
  readonly book: TaskBook;
  readonly store: TaskStore;
  readonly hosts: EngineHosts;
  readonly queue: TaskQueue;
  readonly cache: ResultCache;
  readonly scheduler: Scheduler;
  readonly quota: TenantQuota;
  readonly dependencies: Dependencies;
  readonly attempts: RunAttempts;
  readonly environments: Environments;
  readonly removals: Removals;
  readonly log: Log;
  readonly clock: () => Date;
}

/**
 * Makes record and host agree. At start it takes up what an earlier server left: adopts what runs, collects what ended, removes only
 * what is ours. From then on it looks again and again for what events did not tell, and acts on what it finds twice in a row: between
 * two steps of a start or an end record and host differ rightly.
 */
export class Reconcile {
  readonly #deps: ReconcileDeps;
  readonly #found = { queuedTasks: 0, adoptedAttempts: 0, releasedAttempts: 0 };
  readonly #startTime: Date;
  #suspects = new Set<string>();
  #lastPassTime: Date | null = null;
  #passCount = 0;
  #problems: readonly string[] = [];
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> = Promise.resolve();

  constructor(deps: ReconcileDeps) {
    this.#deps = deps;
    this.#startTime = deps.clock();
  }

  report(): ReconcileReport {
    const { removals } = this.#deps;
    return {
      startTime: this.#startTime,
      ...this.#found,
      lastPassTime: this.#lastPassTime,
      passCount: this.#passCount,
      removalCount: removals.count,
      removals: removals.latest,
      problems: this.#problems,
    };
  }

  /** Before anything is started or answered. */
  async boot(): Promise<void> {
    const { store, hosts, log, removals } = this.#deps;
    const tasks = await store.unfinished();
    const named = namedBy(tasks);
    for (const host of hosts.all()) if (!host.away) await this.#tidy(host, named);
    await this.#deps.dependencies.restore(tasks);
    for (const task of tasks) {
      this.#deps.book.adopt(task);
      this.#deps.quota.note(task, undefined);
    }
    // What runs comes first: equal tasks in the queue may wait for its result.
    for (const task of tasks) if (currentAttempt(task) !== undefined) this.#takeUp(task);
    for (const task of tasks) if (currentAttempt(task) === undefined) this.#takeUp(task);
    log.info("reconciled", { ...this.#found, removed: removals.count });
  }

  /** An engine that was away until now; its attempts were adopted at the start. */
  async takeUp(host: EngineHost): Promise<void> {
    await this.#tidy(host, namedBy(this.#deps.book.allLive()));
  }

  start(): void {
    this.#timer = setInterval(() => {
      this.#running = this.#running.then(() => this.pass());
    }, INTERVAL_MILLIS);
    this.#timer.unref();
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#running;
  }

  /** Compares record and host once. Never rejects: what could not be done is in the report and is tried again. */
  async pass(): Promise<void> {
    const { book, hosts, log, clock } = this.#deps;
    const suspects = new Set<string>();
    const problems: string[] = [];
    /** Whether the same was found the last time. */
    const again = (key: string): boolean => {
      suspects.add(key);
      return this.#suspects.has(key);
    };
    const live = book.allLive();
    for (const task of live) {
      this.#release(task);
      if (this.#isStray(task) && again(`task ${task.id}`)) this.#resume(task);
    }
    const named = namedBy(live);
    // Builds have sandboxes, too; those of an earlier server are nobody's, and are removed at the start.
    for (const id of this.#deps.environments.sandboxIds) named.add(id);
    for (const host of hosts.all()) {
      try {
        for (const id of await this.#sandboxesBeside(named, host))
          if (again(`sandbox ${id}`)) await this.#removeSandbox(id, host);
        for (const id of await this.#filesBeside(named, host))
          if (again(`files ${id}`)) await this.#removeFiles(id, host);
      } catch (error) {
        problems.push(
          `engine ${host.engine.name}: ${error instanceof Error ? error.message : String(error)}`,
        );
      }
    }
    this.#suspects = suspects;
    this.#problems = problems;
    this.#lastPassTime = clock();
    this.#passCount++;
    if (problems.length > 0) log.warn("record and host could not be compared", { problems });
  }

  /** Before anything is started there: whatever has no unfinished task is left from an earlier server. */
  async #tidy(host: EngineHost, named: ReadonlySet<string>): Promise<void> {
    for (const id of host.engine.removedAtOpen) this.#deps.removals.add("SANDBOX", id);
    for (const id of await this.#sandboxesBeside(named, host)) await this.#removeSandbox(id, host);
    for (const id of await this.#filesBeside(named, host)) await this.#removeFiles(id, host);
  }

  #takeUp(task: Task): void {
    this.#found.releasedAttempts += this.#release(task);
    if (currentAttempt(task) !== undefined) {
      this.#adopt(task);
      this.#found.adoptedAttempts++;
    } else if (!isTerminal(task.state)) {
      void this.#deps.queue.enter(task);
      this.#found.queuedTasks++;
    }
  }

  #adopt(task: Task): void {
    const attempt = currentAttempt(task);
    if (attempt === undefined) return;
    const host = this.#deps.hosts.get(attempt.engine);
    const hold: Hold = { taskId: task.id, resources: task.limits, gpuIds: attempt.gpuIds };
    this.#deps.scheduler.adopt(host, task, hold);
    this.#deps.cache.adopt(task);
    this.#deps.environments.adopt(task, attempt);
    this.#deps.attempts.adopt(task, attempt, host);
  }

  /** Nobody works on it: an error of ours let go of it. */
  #isStray(task: Task): boolean {
    const { attempts, queue } = this.#deps;
    return !isTerminal(task.state) && !attempts.has(task.id) && !queue.has(task.id);
  }

  #resume(task: Task): void {
    this.#deps.log.warn("a task that nobody worked on is taken up again", factsOf(task));
    if (currentAttempt(task) !== undefined) this.#adopt(task);
    else void this.#deps.queue.enter(task);
  }

  /** Attempts that ended but whose sandbox was not removed. */
  #release(task: Task): number {
    const { attempts, hosts } = this.#deps;
    const ended = task.attempts.filter((attempt) => attempt.endTime !== null && !attempt.released);
    for (const attempt of ended) attempts.releaseLater(hosts.get(attempt.engine), task, attempt);
    return ended.length;
  }

  /** Sandboxes with our label that no unfinished task has: halves of a start, containers that came up after their server was killed. */
  async #sandboxesBeside(named: ReadonlySet<string>, host: EngineHost): Promise<string[]> {
    const listed = await host.engine.list();
    return listed.filter(({ id, warm }) => !warm && !named.has(id)).map(({ id }) => id);
  }

  /** Files of sandboxes that no record names: their task was removed, and the server died before they were. */
  async #filesBeside(named: ReadonlySet<string>, host: EngineHost): Promise<string[]> {
    const ids = (await host.engine.files.list()).filter((id) => !named.has(id));
    const known = await this.#deps.store.knownSandboxes(ids);
    return ids.filter((id) => !known.has(id));
  }

  async #removeSandbox(id: string, host: EngineHost): Promise<void> {
    await host.engine.release(id);
    this.#deps.removals.add("SANDBOX", id);
  }

  async #removeFiles(id: string, host: EngineHost): Promise<void> {
    await host.engine.files.remove(id);
    this.#deps.removals.add("FILES", id);
  }
}

function namedBy(tasks: readonly Task[]): Set<string> {
  return new Set(tasks.flatMap((task) => task.attempts.map((attempt) => attempt.sandboxId)));
}
