import type { ComposedBlobs } from "./compose-blobs.ts";
import type { Lifecycle } from "./compose-lifecycle.ts";
import type { ComposedWebhooks } from "./compose-webhooks.ts";
import type { DeleteTask } from "./delete-task.ts";
import { DiskGuard } from "./disk-guard.ts";
import { EngineArrivals } from "./engine-arrivals.ts";
import type { EngineHosts } from "./engine-host.ts";
import { MeasureHost } from "./measure-host.ts";
import type { Parts } from "./parts.ts";
import { Reconcile } from "./reconcile.ts";
import { Sweep } from "./sweep.ts";

export type Upkeep = ReturnType<typeof composeUpkeep>;

/** What looks after record, engines and disk from time to time, whether or not anybody calls. */
export function composeUpkeep(
  parts: Parts,
  built: {
    readonly hosts: EngineHosts;
    readonly lifecycle: Lifecycle;
    readonly blobs: ComposedBlobs;
    readonly webhooks: ComposedWebhooks;
    readonly deleteTask: DeleteTask;
  },
) {
  const { store, metrics, log, policy, clock } = parts;
  const { hosts, lifecycle, blobs, webhooks, deleteTask } = built;
  const { book, dependencies, scheduler } = lifecycle;
  const { presigned, removals } = blobs;
  const reconcile = new Reconcile({
    book,
    store,
    hosts,
    queue: lifecycle.queue,
    cache: lifecycle.cache,
    scheduler,
    quota: lifecycle.quota,
    dependencies,
    attempts: lifecycle.attempts,
    environments: lifecycle.environments,
    removals,
    log,
    clock,
  });
  const arrivals = new EngineArrivals({
    hosts,
    scheduler,
    reconcile,
    foreign: policy.countForeign ? lifecycle.foreign : null,
    log,
  });
  const sweep = new Sweep({
    store,
    blobs: parts.blobs,
    presigned,
    deleteTask,
    collectBlobs: blobs.collect,
    dependencies,
    removals,
    deliveries: webhooks,
    deliveryMillis: policy.defaultRetentionMillis,
    log,
    clock,
  });
  const diskGuard = new DiskGuard({ ...parts.disk, scheduler, log });
  const measureHost = new MeasureHost({
    metrics,
    hosts,
    live: () => book.allLive(),
    waitOf: lifecycle.waitOf,
    pausedReason: () => scheduler.pausedReason,
    freeDiskBytes: () => diskGuard.freeBytes,
    reconcileProblems: () => reconcile.report().problems.length,
    clock,
  });
  return { reconcile, arrivals, sweep, diskGuard, measureHost };
}
