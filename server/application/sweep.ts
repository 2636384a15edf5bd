import type { BlobStore } from "../domain/ports/blob-store.ts";
import type { TaskStore } from "../domain/ports/task-store.ts";
import type { Log } from "../domain/ports/telemetry.ts";
import type { DeleteTask } from "./delete-task.ts";

const INTERVAL_MILLIS = 60_000;
const STAGED_LIFETIME_MILLIS = 24 * 3_600_000;
const BATCH = 100;

/** Removes what has expired: tasks past their retention, uploads that nobody finished. */
export class Sweep {
  readonly #store: TaskStore;
  readonly #blobs: BlobStore;
  readonly #deleteTask: DeleteTask;
  readonly #log: Log;
  readonly #clock: () => Date;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> = Promise.resolve();

  constructor(deps: {
    store: TaskStore;
    blobs: BlobStore;
    deleteTask: DeleteTask;
    log: Log;
    clock: () => Date;
  }) {
    this.#store = deps.store;
    this.#blobs = deps.blobs;
    this.#deleteTask = deps.deleteTask;
    this.#log = deps.log;
    this.#clock = deps.clock;
  }

  start(): void {
    this.#timer = setInterval(() => {
      this.#running = this.run().catch((error: unknown) =>
        this.#log.error("sweep failed", { error: String(error) }),
      );
    }, INTERVAL_MILLIS);
    this.#timer.unref();
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#running;
  }

  async run(): Promise<void> {
    const now = this.#clock();
    for (const task of await this.#store.expired(now, BATCH)) await this.#deleteTask.remove(task);
    await this.#blobs.removeStagedBefore(new Date(now.getTime() - STAGED_LIFETIME_MILLIS));
  }
}
