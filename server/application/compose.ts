import type { Application } from "./api.ts";
import { AuditEvents, type TaskAudit } from "./audit-event.ts";
import { composeApi } from "./compose-api.ts";
import { composeBlobs } from "./compose-blobs.ts";
import { composeHosts } from "./compose-hosts.ts";
import { composeLifecycle } from "./compose-lifecycle.ts";
import { composeUpkeep } from "./compose-upkeep.ts";
import { composeWebhooks } from "./compose-webhooks.ts";
import { DeleteTask } from "./delete-task.ts";
import type { Parts } from "./parts.ts";

export interface ComposedApplication {
  readonly application: Application;
  /** Takes up what an earlier server left, then begins to start tasks. */
  start(): Promise<void>;
  /** Starts and takes no more tasks; what runs goes on. */
  pause(reason: string): void;
  /** Stops watching; sandboxes go on and are adopted at the next start. */
  close(): Promise<void>;
}

/** Each part of the application in a file of its own, and how they start and stop together. */
export async function composeApplication(parts: Parts): Promise<ComposedApplication> {
  const { store, artifacts, secretBox, metrics, log, policy, clock, newId } = parts;
  const hosts = await composeHosts(parts);
  const lifecycle = composeLifecycle(parts, hosts);
  const { attempts, book, budgets, cache, deadlines, dependencies } = lifecycle;
  const { environments, foreign, probe, scheduler, trace } = lifecycle;
  const blobs = composeBlobs(parts);
  const events = new AuditEvents({ clock, newId });
  const audit: TaskAudit = (caller, action, id, detail) =>
    parts.auditsTasks ? events.of(caller, action, id, { detail }) : undefined;
  const webhooks = composeWebhooks(parts.webhooks, { secretBox, events, metrics, log, clock, newId });
  const files = new Map(parts.engines.map((engine) => [engine.name, engine.files]));
  const collectBlobs = blobs.collect;
  const deleteTask = new DeleteTask({
    audit,
    book,
    store,
    artifacts,
    collectBlobs,
    dependencies,
    files,
    log,
  });
  const upkeep = composeUpkeep(parts, { hosts, lifecycle, blobs, webhooks, deleteTask });
  const { arrivals, diskGuard, measureHost, reconcile, sweep } = upkeep;
  return {
    application: composeApi(parts, { hosts, lifecycle, blobs, webhooks, upkeep, deleteTask, audit }),
    start: async () => {
      await diskGuard.start();
      if (policy.countForeign) await foreign.start();
      await trace.repeat(store);
      await budgets.open();
      await reconcile.boot();
      arrivals.start();
      budgets.start();
      await environments.makeRoom();
      reconcile.start();
      sweep.start();
      webhooks.dispatch.start();
      measureHost.start();
    },
    pause: (reason) => scheduler.pause("shutdown", reason),
    close: async () => {
      measureHost.stop();
      await Promise.all([arrivals.close(), probe.close(), foreign.close()]);
      await diskGuard.stop();
      await reconcile.stop();
      await sweep.stop();
      await webhooks.dispatch.close();
      await blobs.presigned.close();
      deadlines.close();
      budgets.close();
      await dependencies.close();
      await cache.close();
      await environments.close();
      await attempts.close();
    },
  };
}
