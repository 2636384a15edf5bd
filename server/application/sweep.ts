import type { BlobStore } from "../domain/ports/blob-store.ts";
import type { TaskStore } from "../domain/ports/task-store.ts";
import type { Log } from "../domain/ports/telemetry.ts";
import { isDamaged } from "../domain/task-record.ts";
import type { CollectBlobs } from "./collect-blobs.ts";
import type { ComposedWebhooks } from "./compose-webhooks.ts";
import type { DeleteTask } from "./delete-task.ts";
import type { Dependencies } from "./dependencies.ts";
import type { PresignedBlobs } from "./presigned-blobs.ts";
import type { Removals } from "./removals.ts";

const INTERVAL_MILLIS = 60_000;
const STAGED_LIFETIME_MILLIS = 24 * 3_600_000;
const BATCH = 100;

export interface SweepDeps {
  readonly store: TaskStore;
  readonly blobs: BlobStore;
  readonly presigned: PresignedBlobs;
  readonly deleteTask: DeleteTask;
  readonly collectBlobs: CollectBlobs;
  readonly dependencies: Dependencies;
  readonly removals: Removals;
  readonly deliveries: Pick<ComposedWebhooks, "removeBefore">;
  /** How long what was delivered stays in the log. */
  readonly deliveryMillis: number;
  readonly log: Log;
  readonly clock: () => Date;
}

/** Removes what has expired: tasks past their retention, uploads that nobody finished, bytes that nothing names. */
export class Sweep {
  readonly #deps: SweepDeps;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(deps: SweepDeps) {
    this.#deps = deps;
  }

  start(): void {
    this.#next();
    this.#timer = setInterval(() => this.#next(), INTERVAL_MILLIS);
    this.#timer.unref();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearInterval(this.#timer);
    await this.#running;
  }

  async run(): Promise<void> {
    const { blobs, presigned, collectBlobs, removals, deliveries, deliveryMillis, clock } = this.#deps;
    const now = clock();
    await this.#removeExpired(now);
    const staged = await blobs.removeStagedBefore(new Date(now.getTime() - STAGED_LIFETIME_MILLIS));
    const uploads = staged + (await presigned.collect());
    if (uploads > 0) removals.add("UPLOAD", String(uploads));
    await collectBlobs.run();
    await deliveries.removeBefore(new Date(now.getTime() - deliveryMillis));
  }

  async #removeExpired(now: Date): Promise<void> {
    const { store, deleteTask, dependencies, removals } = this.#deps;
    /** What others still need stays in front of the rest. */
    const kept = new Set<string>();
    for (;;) {
      const limit = BATCH + kept.size;
      const expired = await store.expired(now, limit);
      for (const task of expired) {
        if (dependencies.neededBy(task).length > 0) {
          kept.add(task.id);
          continue;
        }
        if (isDamaged(task)) await deleteTask.removeDamaged(task);
        else await deleteTask.remove(task);
        removals.add("TASK", task.id);
      }
      if (expired.length < limit || this.#stopped) break;
    }
  }

  /** One run after the other, however long one takes. */
  #next(): void {
    this.#running = this.#running
      .then(() => (this.#stopped ? undefined : this.run()))
      .catch((error: unknown) => this.#deps.log.error("sweep failed", { error: String(error) }));
  }
}
