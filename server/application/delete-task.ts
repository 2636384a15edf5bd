import type { AuditEvent } from "../domain/audit.ts";
import { StoreAway, WrongState } from "../domain/errors.ts";
import type { SandboxFiles } from "../domain/ports/engine.ts";
import type { ArtifactStore, TaskStore } from "../domain/ports/task-store.ts";
import type { Log } from "../domain/ports/telemetry.ts";
import { isTerminal, type Task } from "../domain/task.ts";
import { type DamagedTask, isDamaged } from "../domain/task-record.ts";
import { isFinished } from "../domain/transition.ts";
import type { TaskAudit } from "./audit-event.ts";
import type { Caller } from "./caller.ts";
import { Latch } from "./changes.ts";
import type { CollectBlobs } from "./collect-blobs.ts";
import type { Dependencies } from "./dependencies.ts";
import { factsOf } from "./log-facts.ts";
import type { TaskBook } from "./task-book.ts";

/** Longest that a delete waits for the removal of the sandbox, which takes well under a second as a rule. */
const RELEASE_MILLIS = 20_000;

export interface DeleteTaskDeps {
  readonly audit: TaskAudit;
  readonly book: TaskBook;
  readonly store: TaskStore;
  readonly artifacts: ArtifactStore;
  readonly collectBlobs: CollectBlobs;
  readonly dependencies: Dependencies;
  /** By engine name. */
  readonly files: ReadonlyMap<string, SandboxFiles>;
  readonly log: Log;
}

/** Removes a finished task with its logs and artifacts, and the blobs that nothing names any more. */
export class DeleteTask {
  readonly #deps: DeleteTaskDeps;

  constructor(deps: DeleteTaskDeps) {
    this.#deps = deps;
  }

  async delete(caller: Caller, id: string): Promise<void> {
    const task = await this.#deps.book.getRecord(id, caller.tenant);
    const event = this.#deps.audit(caller, "task.delete", id);
    if (isDamaged(task)) return await this.removeDamaged(task, event);
    if (!isTerminal(task.state)) {
      throw new WrongState(`task ${id} is ${task.state.toLowerCase()}; cancel it first`, task.state);
    }
    await this.remove(isFinished(task) ? task : await this.#released(task), event);
  }

  /** Nothing works on it, whatever its state. What its record would name is found by the next sweep and comparison with the host. */
  async removeDamaged(task: DamagedTask, event?: AuditEvent): Promise<void> {
    const { store, dependencies, log } = this.#deps;
    using _leaving = dependencies.leave(task);
    await store.remove(task.id, event);
    log.info("damaged task removed", { task: task.id, tenant: task.tenant });
  }

  /** A task ends before its sandbox is gone; who deletes it right then need not know of that. */
  async #released(task: Task): Promise<Task> {
    const { book } = this.#deps;
    const latch = new Latch();
    const patience = AbortSignal.timeout(RELEASE_MILLIS);
    const deaf = book.changes.listen(task.id, () => latch.set());
    try {
      while (book.live(task.id) !== undefined && !patience.aborted) await latch.wait(patience);
    } finally {
      deaf();
    }
    const released = await book.get(task.id, task.tenant);
    if (isFinished(released)) return released;
    throw new WrongState(
      `the sandbox of task ${task.id} is still being removed; try again in a moment`,
      task.state,
    );
  }

  /**
   * Throws WrongState while a task that has not ended needs this one.
   * The record goes first, with who asked for it where somebody did: a crash in between leaves files that the next sweep finds, never a record without its files.
   */
  async remove(task: Task, event?: AuditEvent): Promise<void> {
    const { store, artifacts, collectBlobs, dependencies, files, log } = this.#deps;
    using _leaving = dependencies.leave(task);
    const named = [task.archiveSha256, ...task.inputs.map(({ sha256 }) => sha256)];
    const digests = new Set(named.filter((sha256) => sha256 !== ""));
    for (let after = ""; ; ) {
      const page = await artifacts.list(task.id, after, 1000);
      for (const artifact of page) digests.add(artifact.sha256);
      const last = page.at(-1);
      if (last === undefined || page.length < 1000) break;
      after = last.path;
    }
    await store.remove(task.id, event);
    const places = task.cachedOutput === null ? task.attempts : [...task.attempts, task.cachedOutput];
    // The output may be that of tasks, too, which were answered from this one.
    const known = await store.knownSandboxes(places.map(({ sandboxId }) => sandboxId));
    for (const { engine, sandboxId } of places)
      if (!known.has(sandboxId)) await files.get(engine)?.remove(sandboxId);
    try {
      for (const digest of digests) await collectBlobs.collect(digest);
    } catch (error) {
      if (!(error instanceof StoreAway)) throw error;
      // The task is gone all the same; what nothing names any more is found by the sweep.
      log.warn("blobs are left for the next sweep", { ...factsOf(task), error: error.message });
    }
    log.info("task removed", factsOf(task));
  }
}
