import { WrongState } from "../domain/errors.ts";
import type { SandboxFiles } from "../domain/ports/engine.ts";
import type { ArtifactStore, TaskStore } from "../domain/ports/task-store.ts";
import type { Log } from "../domain/ports/telemetry.ts";
import type { Task } from "../domain/task.ts";
import { isFinished } from "../domain/transition.ts";
import type { CollectBlobs } from "./collect-blobs.ts";
import type { TaskBook } from "./task-book.ts";

export interface DeleteTaskDeps {
  readonly book: TaskBook;
  readonly store: TaskStore;
  readonly artifacts: ArtifactStore;
  readonly collectBlobs: CollectBlobs;
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

  async delete(tenant: string, id: string): Promise<void> {
    const task = await this.#deps.book.get(id, tenant);
    if (!isFinished(task)) {
      throw new WrongState(
        `task ${id} is ${task.state.toLowerCase()}${task.endTime === null ? "; cancel it first" : ", but its sandbox is still being removed; try again"}`,
        task.state,
      );
    }
    await this.remove(task);
  }

  /** The record goes first: a crash in between leaves files that the next sweep finds, never a record without its files. */
  async remove(task: Task): Promise<void> {
    const { store, artifacts, collectBlobs, files, log } = this.#deps;
    const digests = new Set(task.archiveSha256 === "" ? [] : [task.archiveSha256]);
    for (let after = ""; ; ) {
      const page = await artifacts.list(task.id, after, 1000);
      for (const artifact of page) digests.add(artifact.sha256);
      const last = page.at(-1);
      if (last === undefined || page.length < 1000) break;
      after = last.path;
    }
    await store.remove(task.id);
    for (const attempt of task.attempts) await files.get(attempt.engine)?.remove(attempt.sandboxId);
    for (const digest of digests) await collectBlobs.collect(digest);
    log.info("task removed", { task: task.id });
  }
}
