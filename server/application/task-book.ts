import type { AuditEvent } from "../domain/audit.ts";
import { NotFound, Unavailable } from "../domain/errors.ts";
import type { TaskStore } from "../domain/ports/task-store.ts";
import type { Log } from "../domain/ports/telemetry.ts";
import type { Task } from "../domain/task.ts";
import { intact, type TaskRecord } from "../domain/task-record.ts";
import { apply, isFinished, type TaskChange } from "../domain/transition.ts";
import { Changes } from "./changes.ts";
import { factsOf } from "./log-facts.ts";
import { untilAvailable } from "./until-available.ts";

/** Decides what happens to the present task; undefined leaves it as it is. Must not wait: it runs between two commits. */
export type Decide = (task: Task) => TaskChange | undefined;

interface LiveTask {
  task: Task;
  /** Settles when the latest change is committed; the next one begins after it. */
  tail: Promise<unknown>;
  /** The last commit failed half-way: whether the store holds it is known only by reading it again. */
  doubtful: boolean;
}

/**
 * The tasks under way, in memory and in the store. All changes of a task go through here one after the other, are committed
 * before anybody sees them, and are then told to those who watch. Finished tasks live in the store alone.
 */
export class TaskBook {
  readonly #store: TaskStore;
  readonly #log: Log;
  readonly #live = new Map<string, LiveTask>();
  /** Tells that a task changed, by id. */
  readonly changes = new Changes();
  /** Tells that some task of a tenant changed, by tenant. */
  readonly tenantChanges = new Changes();

  /** Called after each commit; `previous` is undefined for a new task. */
  readonly #onCommit: (next: Task, previous: Task | undefined) => void;

  constructor(store: TaskStore, log: Log, onCommit: (next: Task, previous: Task | undefined) => void) {
    this.#store = store;
    this.#log = log;
    this.#onCommit = onCommit;
  }

  /** Commits a new task, with who made it. Throws RequestIdTaken. */
  async insert(task: Task, event?: AuditEvent): Promise<void> {
    try {
      await this.#store.insert(task, event);
    } catch (error) {
      // A commit may fail after it reached the disk; such a task would wait in the store for the next start.
      if (!(error instanceof Unavailable) || (await this.#stored(task)) === undefined) throw error;
    }
    this.#onCommit(task, undefined);
    this.adopt(task);
  }

  /** Takes up a task that the store already holds. */
  adopt(task: Task): void {
    this.#live.set(task.id, { task, tail: Promise.resolve(), doubtful: false });
    this.tell(task.id);
  }

  /** Has those who watch a task under way look at it again: it changed, or its place in the queue did. */
  tell(id: string): void {
    this.changes.tell(id);
    const tenant = this.#live.get(id)?.task.tenant;
    if (tenant !== undefined) this.tenantChanges.tell(tenant);
  }

  /** Whoever's it is, and whether or not its record can be read. */
  async lookUp(id: string): Promise<TaskRecord | undefined> {
    return this.#live.get(id)?.task ?? (await this.#store.get(id));
  }

  /** Throws RecordDamaged. */
  async find(id: string): Promise<Task | undefined> {
    const record = await this.lookUp(id);
    return record === undefined ? undefined : intact(record);
  }

  /** The task of this tenant; another tenant's is not found either. Throws RecordDamaged. */
  async get(id: string, tenant: string): Promise<Task> {
    return intact(await this.getRecord(id, tenant));
  }

  /** The same for what can be done even where the record cannot be read. */
  async getRecord(id: string, tenant: string): Promise<TaskRecord> {
    const record = await this.lookUp(id);
    if (record === undefined || record.tenant !== tenant)
      throw new NotFound("task", id.slice(0, 100), "see longshore ps");
    return record;
  }

  /** The task as it stands in memory; undefined when it is finished or unknown. */
  live(id: string): Task | undefined {
    return this.#live.get(id)?.task;
  }

  allLive(): Task[] {
    return [...this.#live.values()].map((entry) => entry.task);
  }

  /**
   * Applies what `decide` makes of the present task and answers the committed one; `event` tells who asked, if anything changes.
   * Throws WrongState.
   */
  async change(id: string, decide: Decide, event?: AuditEvent): Promise<Task> {
    const entry = this.#live.get(id) ?? (await this.#load(id));
    const turn = entry.tail.then(() => this.#commit(entry, decide, event));
    // The next change must come after this one whether or not it succeeds; the caller of this one gets its error.
    entry.tail = turn.catch(() => undefined);
    return await turn;
  }

  /**
   * As `change`, for what has happened and must not be lost: goes on trying while the store is away. `decide` may then see a
   * task that holds the change already.
   */
  record(id: string, decide: Decide, signal: AbortSignal): Promise<Task> {
    return untilAvailable(
      () => this.change(id, decide),
      signal,
      (error) =>
        this.#log.warn("a change of a task waits for the database", {
          ...known(this.live(id), id),
          error: error.message,
        }),
    );
  }

  async #commit(entry: LiveTask, decide: Decide, event?: AuditEvent): Promise<Task> {
    if (entry.doubtful) await this.#reload(entry);
    const change = decide(entry.task);
    if (change === undefined) return entry.task;
    const next = apply(entry.task, change);
    const previous = entry.task;
    entry.doubtful = true;
    await this.#store.save(next, previous, event);
    entry.doubtful = false;
    this.#took(entry, next);
    return next;
  }

  /** Tells of a change that was committed although its commit seemed to fail. */
  async #reload(entry: LiveTask): Promise<void> {
    const record = await this.#store.get(entry.task.id);
    if (record === undefined) throw new NotFound("task", entry.task.id);
    const stored = intact(record);
    entry.doubtful = false;
    if (stored.version !== entry.task.version) this.#took(entry, stored);
  }

  #took(entry: LiveTask, next: Task): void {
    const previous = entry.task;
    entry.task = next;
    this.#onCommit(next, previous);
    this.tell(next.id);
    if (isFinished(next)) this.#live.delete(next.id);
  }

  async #stored(task: Task): Promise<TaskRecord | undefined> {
    try {
      return await this.#store.get(task.id);
    } catch (error) {
      this.#log.warn("a task could not be looked up", { ...factsOf(task), error: String(error) });
      return undefined;
    }
  }

  async #load(id: string): Promise<LiveTask> {
    const record = await this.#store.get(id);
    if (record === undefined) throw new NotFound("task", id);
    const task = intact(record);
    const present = this.#live.get(id);
    if (present !== undefined) return present;
    const entry = { task, tail: Promise.resolve(), doubtful: false };
    if (!isFinished(task)) this.#live.set(id, entry);
    return entry;
  }
}

function known(task: Task | undefined, id: string): { task: string } {
  return task === undefined ? { task: id } : factsOf(task);
}
