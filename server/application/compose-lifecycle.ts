import { FairShare } from "../domain/fair-share.ts";
import { isTerminal, type Task } from "../domain/task.ts";
import { Budgets } from "./budgets.ts";
import { CacheKeys } from "./cache-keys.ts";
import { Dependencies } from "./dependencies.ts";
import type { EngineHosts } from "./engine-host.ts";
import { EngineProbe } from "./engine-probe.ts";
import { EnvironmentRecord } from "./environment-record.ts";
import { Environments } from "./environments.ts";
import { ExperimentRuns } from "./experiment-runs.ts";
import { ForeignWatch } from "./foreign-watch.ts";
import { JournalHub } from "./journal-hub.ts";
import { LiveUsage } from "./live-usage.ts";
import { MeasureTasks } from "./measure-tasks.ts";
import { Meter } from "./meter.ts";
import type { Parts } from "./parts.ts";
import { ResultCache } from "./result-cache.ts";
import { RunAttempts } from "./run-attempts.ts";
import { RunHistory } from "./run-history.ts";
import { Scheduler } from "./scheduler.ts";
import { TaskBook } from "./task-book.ts";
import { TaskDeadlines } from "./task-deadlines.ts";
import { TaskQueue } from "./task-queue.ts";
import { TenantQuota } from "./tenant-quota.ts";
import { TraceStages } from "./trace-stages.ts";

export type Lifecycle = ReturnType<typeof composeLifecycle>;

/**
 * What takes tasks from the queue to the end of their sandboxes. These know each other all around, through the narrow calls given
 * here, which none of them makes before all of them are there.
 */
export function composeLifecycle(parts: Parts, hosts: EngineHosts) {
  const { store, artifacts, index, blobs, archives, secretBox, metrics, log, policy, clock, newId } = parts;
  const journals = new Map(parts.engines.map((engine) => [engine.name, new JournalHub(engine.files)]));
  const meter = new Meter({ prices: parts.prices, hosts, policy });
  const trace = new TraceStages(parts.telemetry);
  const measure = new MeasureTasks(metrics);
  const history = new RunHistory(store);
  const book: TaskBook = new TaskBook(store, log, (next, previous) => {
    trace.record(next, previous);
    measure.record(next, previous);
    quota.note(next, previous);
    environments.noteChange(next);
    if (isTerminal(next.state)) {
      environments.release(next.id);
      scheduler.remove(next.id);
    }
    if (isTerminal(next.state) && !(previous !== undefined && isTerminal(previous.state))) {
      history.ended(next);
      cache.ended(next);
      dependencies.ended(next);
    }
  });
  const experiments = new ExperimentRuns({ tracker: parts.tracker, secretBox, policy, log });
  const environments: Environments = new Environments({
    store: parts.environments.store,
    kit: parts.environments.builds.kit,
    mostBytes: parts.environments.mostBytes,
    hosts,
    journals,
    record: new EnvironmentRecord({ book, policy, clock }),
    scheduler: {
      wake: () => scheduler.wake(),
      isPaused: () => scheduler.pausedReason !== undefined,
    },
    ready: (task) => queue.lineUp(task),
    log,
    clock,
    newId,
  });
  const usage = new LiveUsage();
  const attempts: RunAttempts = new RunAttempts(
    {
      environments,
      book,
      usage,
      journals,
      experiments,
      archives,
      artifactReader: parts.artifactReader,
      artifacts,
      blobs,
      secretBox,
      meter,
      trace,
      policy,
      log,
      clock,
      newId,
    },
    {
      givenBack: (host, task) => {
        scheduler.giveBack(host, task.id);
        const present = book.live(task.id);
        if (present?.state === "QUEUED") void queue.enter(present);
      },
      trouble: (host, error) => probe.trouble(host, error),
    },
  );
  const budgets = new Budgets({
    quotas: parts.quotas,
    currency: parts.prices?.currency ?? "",
    meter,
    ledger: parts.ledger,
    clock,
    changed: () => scheduler.wake(),
    stop: (taskId) => attempts.stopUnpaid(taskId),
  });
  const quota = new TenantQuota({
    quotas: parts.quotas,
    budgets,
    stored: (tenant) => index.storedBytes(tenant),
  });
  const scheduler = new Scheduler({
    hosts,
    quota,
    fairShare: new FairShare(policy.tenantWeights, clock),
    agingMillis: policy.agingMillis,
    launch: (task, host, hold, waitedFor) => attempts.launch(task, host, hold, waitedFor),
    tell: (taskId) => book.tell(taskId),
    first: () => environments.startWhatFits(),
    log,
    clock,
  });
  const probe = new EngineProbe({ scheduler, log });
  const foreign = new ForeignWatch({ hosts, scheduler, log });
  const waitOf = (taskId: string) => queue.waitOf(taskId);
  const present = (task: Task) =>
    task.state === "QUEUED"
      ? { ...task, wait: waitOf(task.id) ?? null }
      : usage.present(meter.withAccrued(task, clock()));
  const dependencies: Dependencies = new Dependencies({
    book,
    store,
    policy,
    log,
    clock,
    ready: (task) => void queue.goOn(task),
  });
  const cacheKeys = new CacheKeys({ artifacts, secretBox });
  const cache = new ResultCache({
    book,
    store,
    artifacts,
    blobs,
    hosts,
    keys: cacheKeys,
    policy,
    log,
    clock,
    environmentOf: (task, imageDigest) => environments.idFor(task, imageDigest),
    miss: (task) => queue.prepare(task),
  });
  const deadlines = new TaskDeadlines({
    book,
    queue: {
      readyTime: (task) => dependencies.readyTime(task),
      waitOf,
      remove: (taskId) => queue.remove(taskId),
    },
    policy,
    log,
    clock,
  });
  const queue: TaskQueue = new TaskQueue({ dependencies, cache, environments, scheduler, deadlines });
  return {
    attempts,
    book,
    budgets,
    cache,
    cacheKeys,
    deadlines,
    dependencies,
    environments,
    foreign,
    history,
    journals,
    meter,
    present,
    probe,
    queue,
    quota,
    scheduler,
    trace,
    usage,
    waitOf,
  };
}
