import { CapacityLedger, NO_RESOURCES } from "../domain/capacity.ts";
import { SystemFault } from "../domain/errors.ts";
import { FairShare } from "../domain/fair-share.ts";
import type { Policy } from "../domain/policy.ts";
import type { ArchiveReader, ArtifactReader } from "../domain/ports/archive-reader.ts";
import type { BlobIndex, BlobStore } from "../domain/ports/blob-store.ts";
import type { DataDisk } from "../domain/ports/data-disk.ts";
import type { Engine } from "../domain/ports/engine.ts";
import type { EnvironmentStore } from "../domain/ports/environment-store.ts";
import type { ExperimentTracker } from "../domain/ports/experiment-tracker.ts";
import type { Metrics } from "../domain/ports/metrics.ts";
import type { SecretBox } from "../domain/ports/secret-box.ts";
import type { ArtifactStore, TaskStore } from "../domain/ports/task-store.ts";
import type { Log, Telemetry } from "../domain/ports/telemetry.ts";
import type { UsageLedger } from "../domain/ports/usage-ledger.ts";
import type { PriceBook } from "../domain/price-book.ts";
import type { Quotas } from "../domain/quota.ts";
import { isTerminal, type Task } from "../domain/task.ts";
import type { Application } from "./api.ts";
import { AuditEvents, type TaskAudit } from "./audit-event.ts";
import { Budgets } from "./budgets.ts";
import { CacheKeys } from "./cache-keys.ts";
import { CancelTask } from "./cancel-task.ts";
import { CheckInputs } from "./check-inputs.ts";
import { CollectBlobs } from "./collect-blobs.ts";
import { composeWebhooks, type WebhookParts } from "./compose-webhooks.ts";
import { CreateTask } from "./create-task.ts";
import { DeleteTask } from "./delete-task.ts";
import { Dependencies } from "./dependencies.ts";
import { DescribeServer } from "./describe-server.ts";
import { DiskGuard } from "./disk-guard.ts";
import { DownloadBlob } from "./download-blob.ts";
import { type EngineHost, EngineHosts } from "./engine-host.ts";
import { EngineProbe } from "./engine-probe.ts";
import { EnvironmentRecord } from "./environment-record.ts";
import { Environments } from "./environments.ts";
import { EstimateCost } from "./estimate-cost.ts";
import { ExperimentRuns } from "./experiment-runs.ts";
import { ForeignWatch } from "./foreign-watch.ts";
import { GetBlob } from "./get-blob.ts";
import type { NewId } from "./identity.ts";
import { JournalHub } from "./journal-hub.ts";
import { LiveUsage } from "./live-usage.ts";
import { MeasureHost } from "./measure-host.ts";
import { MeasureTasks } from "./measure-tasks.ts";
import { MeasuredEngine } from "./measured-engine.ts";
import { Meter } from "./meter.ts";
import { PresignedBlobs, type PresignedBlobsDeps } from "./presigned-blobs.ts";
import { ReadArtifacts } from "./read-artifacts.ts";
import { ReadTasks } from "./read-tasks.ts";
import { ReadUsage } from "./read-usage.ts";
import { Reconcile } from "./reconcile.ts";
import { Removals } from "./removals.ts";
import { RerunTask } from "./rerun-task.ts";
import { type Builds, ResolveEnvironment } from "./resolve-environment.ts";
import { ResultCache } from "./result-cache.ts";
import { RunAttempts } from "./run-attempts.ts";
import { RunHistory } from "./run-history.ts";
import { Scheduler } from "./scheduler.ts";
import { StoredBytes } from "./stored-bytes.ts";
import { SubmitTask } from "./submit-task.ts";
import { Sweep } from "./sweep.ts";
import { TaskBook } from "./task-book.ts";
import { TaskDeadlines } from "./task-deadlines.ts";
import { TaskQueue } from "./task-queue.ts";
import { TenantQuota } from "./tenant-quota.ts";
import { TraceStages } from "./trace-stages.ts";
import { UploadBlob } from "./upload-blob.ts";
import { WatchTask } from "./watch-task.ts";
import { WatchTasks } from "./watch-tasks.ts";

/** What the use cases stand on; server/main.ts chooses it. */
export interface Parts {
  readonly engines: readonly [Engine, ...Engine[]];
  /** Other names of engines. */
  readonly engineAliases?: ReadonlyMap<string, string>;
  /** Name of the engine for what the first has no room for; empty or absent keeps that waiting. */
  readonly engineOverflow?: string;
  readonly store: TaskStore;
  readonly artifacts: ArtifactStore;
  readonly index: BlobIndex;
  readonly ledger: UsageLedger;
  readonly blobs: BlobStore;
  /** Where clients may reach the store of blobs themselves. */
  readonly addresses?: PresignedBlobsDeps["addresses"];
  readonly archives: ArchiveReader;
  readonly artifactReader: ArtifactReader;
  readonly secretBox: SecretBox;
  readonly tracker: ExperimentTracker;
  readonly disk: { readonly disk: DataDisk; readonly leastFreeBytes: number };
  readonly environments: {
    readonly store: EnvironmentStore;
    /** What environments may take of the disk together. */
    readonly mostBytes: number;
    readonly builds: Builds;
  };
  readonly webhooks: WebhookParts;
  readonly telemetry: Telemetry;
  readonly metrics: Metrics;
  readonly log: Log;
  /** Whether who did what to tasks goes into the audit log. */
  readonly auditsTasks: boolean;
  readonly policy: Policy;
  /** Null: nothing has a price. */
  readonly prices: PriceBook | null;
  readonly quotas: Quotas;
  readonly version: string;
  /** Of a task's trace, with "{trace_id}" in it; empty where it is not known. */
  readonly traceUrl: string;
  readonly clock: () => Date;
  readonly newId: NewId;
}

export interface ComposedApplication {
  readonly application: Application;
  /** Takes up what an earlier server left, then begins to start tasks. */
  start(): Promise<void>;
  /** Starts and takes no more tasks; what runs goes on. */
  pause(reason: string): void;
  /** Stops watching; sandboxes go on and are adopted at the next start. */
  close(): Promise<void>;
}

async function hostOf(given: Engine, policy: Policy, metrics: Metrics): Promise<EngineHost> {
  const engine = new MeasuredEngine(given, metrics);
  const capabilities = await engine.capabilities();
  // What is kept back is this host's; a cluster's nodes have told what they can give already.
  const reserve = capabilities.largest === undefined ? policy.reserve : NO_RESOURCES;
  return {
    engine,
    capabilities,
    ledger: new CapacityLedger(capabilities.total, reserve, capabilities.gpus, capabilities.largest),
  };
}

/** A default that no task can have would refuse them one by one, long after the one who set it has gone. */
function requireDefaultTier({ capabilities, engine }: EngineHost, { defaultIsolation }: Policy): void {
  if (capabilities.tiers.some(({ isolation }) => isolation === defaultIsolation)) return;
  throw new SystemFault(
    `tasks are to run with isolation ${defaultIsolation.toLowerCase()} by default, which engine ${engine.name} does not have here: ` +
      "make its runtime work (the log above says what is wrong), or set LONGSHORE_DEFAULT_ISOLATION to one it has",
  );
}

export async function composeApplication(parts: Parts): Promise<ComposedApplication> {
  const { store, artifacts, index, blobs, archives, secretBox, metrics, log, policy, clock, newId } = parts;
  const [first, ...others] = parts.engines;
  const hosts = new EngineHosts(
    [
      await hostOf(first, policy, metrics),
      ...(await Promise.all(others.map((engine) => hostOf(engine, policy, metrics)))),
    ],
    parts.engineAliases,
    parts.engineOverflow,
  );
  requireDefaultTier(hosts.default, policy);
  const files = new Map(parts.engines.map((engine) => [engine.name, engine.files]));
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
  const events = new AuditEvents({ clock, newId });
  const audit: TaskAudit = (caller, action, id, detail) =>
    parts.auditsTasks ? events.of(caller, action, id, { detail }) : undefined;
  const storedBytes = new StoredBytes({ quotas: parts.quotas, index });
  const presigned = new PresignedBlobs({
    blobs,
    index,
    archives,
    addresses: parts.addresses,
    maxUploadBytes: policy.maxUploadBytes,
    storedBytes,
    log,
    clock,
  });
  const webhooks = composeWebhooks(parts.webhooks, { secretBox, events, metrics, log, clock, newId });
  const createTask = new CreateTask({
    audit,
    webhooks: webhooks.manage,
    book,
    store,
    hosts,
    scheduler,
    queue,
    quota,
    dependencies,
    history,
    cacheKeys,
    blobs: presigned,
    archives,
    checkInputs: new CheckInputs({ book, artifacts, blobs: presigned, clock }),
    environments: new ResolveEnvironment({ archives, blobs, builds: parts.environments.builds }),
    secretBox,
    policy,
    log,
    clock,
    newId,
  });
  const uploadBlob = new UploadBlob({
    blobs,
    index,
    archives,
    metrics,
    maxUploadBytes: policy.maxUploadBytes,
    storedBytes,
    clock,
  });
  const submitTask = new SubmitTask({ createTask, uploadBlob, dependencies, policy, clock });
  const buildOf = (taskId: string) => environments.outputOf(taskId);
  const readTasks = new ReadTasks({ book, store, present });
  const watchTask = new WatchTask({ book, journals, present, buildOf, clock });
  const watchTasks = new WatchTasks({ book, usage, present });
  const cancelTask = new CancelTask({ audit, book, queue, attempts, policy, clock });
  const rerunTask = new RerunTask({ book, createTask, clock });
  const removals = new Removals({ log, clock });
  const unusedMillis = policy.defaultRetentionMillis;
  const collectBlobs = new CollectBlobs({ index, blobs, archives, removals, unusedMillis, clock });
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
  const readArtifacts = new ReadArtifacts({ book, artifacts, blobs });
  const readUsage = new ReadUsage({ ledger: parts.ledger, clock });
  const estimateCost = new EstimateCost({ createTask, prices: parts.prices, meter, clock });
  const describe = new DescribeServer({
    hosts,
    queue,
    scheduler,
    policy,
    version: parts.version,
    traceUrl: parts.traceUrl,
    builds: parts.environments.builds,
  });
  const reconcile = new Reconcile({
    book,
    store,
    hosts,
    queue,
    cache,
    scheduler,
    quota,
    dependencies,
    attempts,
    environments,
    removals,
    log,
    clock,
  });
  const sweep = new Sweep({
    store,
    blobs,
    presigned,
    deleteTask,
    collectBlobs,
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
    waitOf,
    pausedReason: () => scheduler.pausedReason,
    freeDiskBytes: () => diskGuard.freeBytes,
    reconcileProblems: () => reconcile.report().problems.length,
    clock,
  });
  const getBlob = new GetBlob({ blobs, index, archives, presigned, unusedMillis });
  const downloadBlob = new DownloadBlob({ blobs, index: presigned });

  const application: Application = {
    createTask: (caller, request) =>
      createTask.create(caller, request, { rerunOf: "", startTime: clock(), upload: null }),
    submitTask: (caller, request, upload, chunks, signal) =>
      submitTask.submit(caller, request, upload, chunks, signal),
    getTask: (caller, id) => readTasks.get(caller, id),
    listTasks: (caller, request) => readTasks.list(caller, request),
    watchTask: (caller, request, signal) => watchTask.watch(caller.tenant, request, signal),
    watchTasks: (caller, request, signal) => watchTasks.watch(caller, request, signal),
    cancelTask: (caller, id, reason, grace) => cancelTask.cancel(caller, id, reason, grace),
    rerunTask: (caller, request) => rerunTask.rerun(caller, request),
    deleteTask: (caller, id) => deleteTask.delete(caller, id),
    listArtifacts: (caller, request) => readArtifacts.list(caller, request),
    downloadArtifact: (caller, taskId, path, offset, signal) =>
      readArtifacts.download(caller, taskId, path, offset, signal),
    getBlob: (caller, sha256) => getBlob.execute(caller.tenant, sha256),
    uploadBlob: async ({ tenant }, header, chunks, signal) => {
      diskGuard.requireRoom();
      const { sha256 } = await uploadBlob.execute({ tenant, header, purpose: "blob" }, chunks, signal);
      return await getBlob.execute(tenant, sha256);
    },
    downloadBlob: (caller, sha256, offset, signal) =>
      downloadBlob.execute(caller.tenant, sha256, offset, signal),
    createUploadUrl: (caller, request) => presigned.createUploadUrl(caller.tenant, request),
    createDownloadUrl: (caller, request) => presigned.createDownloadUrl(caller.tenant, request),
    getUsage: (caller, request) => readUsage.sums(caller, request),
    listUsage: (caller, request) => readUsage.list(caller, request),
    getQuota: (caller) => quota.states(caller.tenant),
    estimateCost: (caller, request) => estimateCost.estimate(caller, request),
    getCapabilities: async () => describe.capabilities(),
    getCapacity: async (engine) => describe.capacity(engine),
    watchCapacity: (engine, signal) => describe.watchCapacity(engine, signal),
    getReconcileReport: async () => reconcile.report(),
    webhooks: webhooks.manage,
  };
  return {
    application,
    start: async () => {
      await diskGuard.start();
      if (policy.countForeign) await foreign.start();
      await trace.repeat(store);
      await budgets.open();
      await reconcile.boot();
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
      await probe.close();
      await foreign.close();
      await diskGuard.stop();
      await reconcile.stop();
      await sweep.stop();
      await webhooks.dispatch.close();
      await presigned.close();
      deadlines.close();
      budgets.close();
      await dependencies.close();
      await cache.close();
      await environments.close();
      await attempts.close();
    },
  };
}
