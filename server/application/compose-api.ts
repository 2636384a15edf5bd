import type { Application } from "./api.ts";
import type { TaskAudit } from "./audit-event.ts";
import { CancelTask } from "./cancel-task.ts";
import { CheckInputs } from "./check-inputs.ts";
import type { ComposedBlobs } from "./compose-blobs.ts";
import type { Lifecycle } from "./compose-lifecycle.ts";
import type { Upkeep } from "./compose-upkeep.ts";
import type { ComposedWebhooks } from "./compose-webhooks.ts";
import { CreateTask } from "./create-task.ts";
import type { DeleteTask } from "./delete-task.ts";
import { DescribeServer } from "./describe-server.ts";
import type { EngineHosts } from "./engine-host.ts";
import { EstimateCost } from "./estimate-cost.ts";
import type { Parts } from "./parts.ts";
import { ReadArtifacts } from "./read-artifacts.ts";
import { ReadTasks } from "./read-tasks.ts";
import { ReadUsage } from "./read-usage.ts";
import { RerunTask } from "./rerun-task.ts";
import { ResolveEnvironment } from "./resolve-environment.ts";
import { SubmitTask } from "./submit-task.ts";
import { ValidateTask } from "./validate-task.ts";
import { WatchTask } from "./watch-task.ts";
import { WatchTasks } from "./watch-tasks.ts";

interface Built {
  readonly hosts: EngineHosts;
  readonly lifecycle: Lifecycle;
  readonly blobs: ComposedBlobs;
  readonly webhooks: ComposedWebhooks;
  readonly upkeep: Upkeep;
  readonly deleteTask: DeleteTask;
  readonly audit: TaskAudit;
}

function createTaskOf(parts: Parts, { hosts, lifecycle, blobs, webhooks, audit }: Built): CreateTask {
  const { store, artifacts, archives, secretBox, policy, log, clock, newId } = parts;
  const { book, scheduler, queue, quota, dependencies, history, cacheKeys } = lifecycle;
  const { builds } = parts.environments;
  return new CreateTask({
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
    blobs: blobs.presigned,
    archives,
    checkInputs: new CheckInputs({ book, artifacts, blobs: blobs.presigned, clock }),
    environments: new ResolveEnvironment({ archives, blobs: parts.blobs, builds }),
    secretBox,
    policy,
    log,
    clock,
    newId,
  });
}

function describeServerOf(parts: Parts, { hosts, lifecycle }: Built): DescribeServer {
  const { policy, version, traceUrl } = parts;
  const { queue, scheduler } = lifecycle;
  const { builds } = parts.environments;
  const presignedUrls = parts.addresses !== undefined;
  return new DescribeServer({ hosts, queue, scheduler, policy, version, traceUrl, builds, presignedUrls });
}

/** The calls about tasks, over their use cases. */
function tasksOf(parts: Parts, built: Built, createTask: CreateTask) {
  const { store, artifacts, policy, clock } = parts;
  const { attempts, book, dependencies, environments, journals, present, queue, usage } = built.lifecycle;
  const uploadBlob = built.blobs.upload;
  const buildOf = (taskId: string) => environments.outputOf(taskId);
  const submitTask = new SubmitTask({ createTask, uploadBlob, dependencies, policy, clock });
  const validateTask = new ValidateTask({ createTask, storedBytes: built.blobs.storedBytes, policy });
  const readTasks = new ReadTasks({ book, store, present });
  const watchTask = new WatchTask({ book, journals, present, buildOf, clock });
  const watchTasks = new WatchTasks({ book, usage, present });
  const cancelTask = new CancelTask({ audit: built.audit, book, queue, attempts, policy, clock });
  const rerunTask = new RerunTask({ book, createTask, clock });
  const readArtifacts = new ReadArtifacts({ book, artifacts, blobs: parts.blobs });
  return {
    createTask: (caller, request) =>
      createTask.create(caller, request, { rerunOf: "", startTime: clock(), upload: null }),
    submitTask: (caller, request, upload, chunks, signal) =>
      submitTask.submit(caller, request, upload, chunks, signal),
    validateTask: (caller, request, project) => validateTask.validate(caller, request, project),
    getTask: (caller, id) => readTasks.get(caller, id),
    listTasks: (caller, request) => readTasks.list(caller, request),
    watchTask: (caller, request, signal) => watchTask.watch(caller.tenant, request, signal),
    watchTasks: (caller, request, signal) => watchTasks.watch(caller, request, signal),
    cancelTask: (caller, id, reason, grace) => cancelTask.cancel(caller, id, reason, grace),
    rerunTask: (caller, request) => rerunTask.rerun(caller, request),
    deleteTask: (caller, id) => built.deleteTask.delete(caller, id),
    listArtifacts: (caller, request) => readArtifacts.list(caller, request),
    downloadArtifact: (caller, taskId, path, offset, signal) =>
      readArtifacts.download(caller, taskId, path, offset, signal),
  } satisfies Partial<Application>;
}

/** The calls about blobs, over their use cases. */
function blobsOf({ blobs, upkeep }: Built) {
  return {
    getBlob: (caller, sha256) => blobs.get.execute(caller.tenant, sha256),
    uploadBlob: async ({ tenant }, header, chunks, signal) => {
      upkeep.diskGuard.requireRoom();
      const { sha256 } = await blobs.upload.execute({ tenant, header, purpose: "blob" }, chunks, signal);
      return await blobs.get.execute(tenant, sha256);
    },
    downloadBlob: (caller, sha256, offset, signal) =>
      blobs.download.execute(caller.tenant, sha256, offset, signal),
    createUploadUrl: (caller, request) => blobs.presigned.createUploadUrl(caller.tenant, request),
    createDownloadUrl: (caller, request) => blobs.presigned.createDownloadUrl(caller.tenant, request),
  } satisfies Partial<Application>;
}

/** What the transport calls, each call to its use case. */
export function composeApi(parts: Parts, built: Built): Application {
  const { prices, clock } = parts;
  const { meter, quota } = built.lifecycle;
  const createTask = createTaskOf(parts, built);
  const readUsage = new ReadUsage({ ledger: parts.ledger, clock });
  const estimateCost = new EstimateCost({ createTask, prices, meter, clock });
  const describe = describeServerOf(parts, built);
  return {
    ...tasksOf(parts, built, createTask),
    ...blobsOf(built),
    getUsage: (caller, request) => readUsage.sums(caller, request),
    listUsage: (caller, request) => readUsage.list(caller, request),
    getQuota: (caller) => quota.states(caller.tenant),
    estimateCost: (caller, request) => estimateCost.estimate(caller, request),
    getCapabilities: async () => describe.capabilities(),
    getCapacity: async (engine) => describe.capacity(engine),
    watchCapacity: (engine, signal) => describe.watchCapacity(engine, signal),
    getReconcileReport: async () => built.upkeep.reconcile.report(),
    webhooks: built.webhooks.manage,
  };
}
