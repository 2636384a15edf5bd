import type { AnnouncedProject } from "../domain/announced-project.ts";
import type { FieldViolation } from "../domain/errors.ts";
import { InvalidRequest, QuotaExceeded, RequestIdReused, Unavailable } from "../domain/errors.ts";
import type { TaskLimits } from "../domain/limits.ts";
import type { Policy } from "../domain/policy.ts";
import type { ArchiveReader } from "../domain/ports/archive-reader.ts";
import type { BlobIndex } from "../domain/ports/blob-store.ts";
import type { SecretBox } from "../domain/ports/secret-box.ts";
import { RequestIdTaken, type TaskStore } from "../domain/ports/task-store.ts";
import type { Log } from "../domain/ports/telemetry.ts";
import { formatSize } from "../domain/resources.ts";
import { isSha256 } from "../domain/sha256.ts";
import { checkSpec, type ProjectFacts, resolveProgram } from "../domain/spec-check.ts";
import type { InputFile, Program, Stage, Task, TaskEnvironment, TaskSpec } from "../domain/task.ts";
import { networkOf } from "../domain/tracking.ts";
import type { TaskRequest } from "./api.ts";
import { queueStage } from "./attempt-stages.ts";
import type { TaskAudit } from "./audit-event.ts";
import type { CacheKeys } from "./cache-keys.ts";
import type { Caller } from "./caller.ts";
import type { CheckInputs } from "./check-inputs.ts";
import type { Dependencies } from "./dependencies.ts";
import type { EngineHost, EngineHosts } from "./engine-host.ts";
import { requireFit, requireTracker } from "./host-fit.ts";
import { digestOfProgram, digestOfSpec, type NewId, newSpanId, newTraceId, stageSpanId } from "./identity.ts";
import { factsOf } from "./log-facts.ts";
import type { ManageWebhooks } from "./manage-webhooks.ts";
import { placeTask } from "./place-task.ts";
import type { ResolveEnvironment } from "./resolve-environment.ts";
import type { RunHistory } from "./run-history.ts";
import type { Scheduler } from "./scheduler.ts";
import type { TaskBook } from "./task-book.ts";
import type { TaskQueue } from "./task-queue.ts";
import type { TenantQuota } from "./tenant-quota.ts";

export interface CreateTaskDeps {
  readonly audit: TaskAudit;
  readonly webhooks: Pick<ManageWebhooks, "check" | "checkForm">;
  readonly book: TaskBook;
  readonly store: TaskStore;
  readonly hosts: EngineHosts;
  readonly scheduler: Scheduler;
  readonly queue: TaskQueue;
  readonly quota: TenantQuota;
  readonly dependencies: Dependencies;
  readonly history: RunHistory;
  readonly cacheKeys: CacheKeys;
  readonly blobs: Pick<BlobIndex, "find" | "touch">;
  readonly archives: ArchiveReader;
  readonly checkInputs: CheckInputs;
  readonly environments: ResolveEnvironment;
  readonly secretBox: SecretBox;
  readonly policy: Policy;
  readonly log: Log;
  readonly clock: () => Date;
  readonly newId: NewId;
}

/** What came before the request: the task it repeats, when the request and its upload began. */
export interface Origin {
  readonly rerunOf: string;
  readonly startTime: Date;
  /** When the archive's last byte had come and how many were sent, for a task that brought its own. */
  readonly upload: { readonly endTime: Date; readonly bytes: number } | null;
}

interface Checked {
  readonly environment: TaskEnvironment | null;
  readonly limits: TaskLimits;
  readonly program: Program;
  readonly inputs: readonly InputFile[];
  readonly host: EngineHost;
  readonly programDigest: string;
  readonly expectedMillis: number | null;
}

/** What a request would hold, and how long it is likely to. */
export interface Measured {
  readonly limits: TaskLimits;
  readonly host: EngineHost;
  readonly image: string;
  readonly expectedMillis: number | null;
}

/** Checks a request and stores its task. Everything wrong is named in one answer, and nothing is stored for it. */
export class CreateTask {
  readonly #deps: CreateTaskDeps;

  constructor(deps: CreateTaskDeps) {
    this.#deps = deps;
  }

  async create(caller: Caller, request: TaskRequest, origin: Origin): Promise<Task> {
    const earlier = await this.findRepeated(caller, request);
    if (earlier !== undefined) return earlier;
    this.#refuseWhilePaused();
    // Until the task is counted itself, so that many requests at once do not all take the last place.
    using place = this.#deps.quota.enter(caller.tenant);
    const id = this.#deps.newId();
    let task: Task;
    try {
      const checked = await this.#check(caller, id, withSecrets(request), request.violations);
      const made = this.#make(caller, id, request, checked, origin);
      task = { ...made, cacheKey: await this.#deps.cacheKeys.of(made) };
      const detail = origin.rerunOf === "" ? "" : `rerun of ${origin.rerunOf}`;
      await this.#deps.book.insert(task, this.#deps.audit(caller, "task.create", id, detail));
      place[Symbol.dispose]();
    } catch (error) {
      this.#deps.dependencies.release(id);
      if (!(error instanceof RequestIdTaken)) throw error;
      // Two equal requests at once: the other one was first.
      const winner = await this.findRepeated(caller, request);
      if (winner === undefined) throw error;
      return winner;
    }
    this.#deps.log.info("task created", { ...factsOf(task), tenant: task.tenant, owner: task.owner });
    const answer = this.#deps.queue.enter(task);
    if (answer === undefined) return task;
    await answer;
    return (await this.#deps.book.find(id)) ?? task;
  }

  /** What can be said before an archive has come: a wrong field is refused before gigabytes are sent for nothing. */
  checkForm(caller: Caller, request: TaskRequest, more: readonly FieldViolation[]): void {
    const violations = [...request.violations, ...more];
    const spec = withSecrets(request);
    const archiveSha256 = spec.archiveSha256 === "" ? "0".repeat(64) : spec.archiveSha256;
    const limits = checkSpec({ ...spec, archiveSha256 }, this.#deps.policy, violations);
    this.#deps.environments.checkForm(spec, violations);
    this.#deps.webhooks.checkForm(spec, violations);
    if (violations.length > 0) throw new InvalidRequest(violations);
    this.#refuseWhilePaused();
    this.#deps.quota.refuseUsedUp(caller.tenant);
    this.#deps.quota.refuseWhatNeverFits(caller.tenant, limits);
  }

  /**
   * Names what `create` would find wrong, before an archive and inputs are sent; nothing is claimed or stored. `announced` tells of
   * the archive; without it only what needs none is looked at, unless it has come already.
   */
  async validate(caller: Caller, request: TaskRequest, announced: AnnouncedProject | null): Promise<void> {
    // Taken before: whatever is full by now, its answer is there.
    if ((await this.findRepeated(caller, request)) !== undefined) return;
    const { tenant } = caller;
    const { policy, dependencies, checkInputs, environments, quota, webhooks } = this.#deps;
    this.#refuseWhilePaused();
    quota.refuseUsedUp(tenant);
    const violations = [...request.violations];
    const spec = withSecrets(request);
    const limits = checkSpec(spec, policy, violations);
    const stored = announced === null ? await this.#storedProject(tenant, spec) : null;
    const project = announced ?? stored;
    if (project !== null || !isSha256(spec.archiveSha256)) await resolveProgram(spec, project, violations);
    await webhooks.check(tenant, spec, violations);
    violations.push(...(await dependencies.check(tenant, spec)));
    await checkInputs.check(tenant, spec, project, limits, violations, "may come");
    this.#checkEngine(spec, violations);
    const environment = await environments.resolve(spec, announced ?? (stored && "stored"), violations);
    if (violations.length > 0) throw new InvalidRequest(violations);
    quota.refuseWhatNeverFits(tenant, limits);
    await this.#place(spec, limits, environment);
  }

  /** Null where it is not there, or is none. */
  async #storedProject(tenant: string, spec: TaskSpec): Promise<ProjectFacts | null> {
    if (!isSha256(spec.archiveSha256)) return null;
    const blob = await this.#deps.blobs.find(tenant, spec.archiveSha256);
    return blob?.state === "STORED" ? await this.#project(tenant, spec, []) : null;
  }

  /** What a request would hold and where, by its fields alone: its archive need not be there, and nothing is claimed or stored. */
  async measure(caller: Caller, request: TaskRequest): Promise<Measured> {
    const violations = [...request.violations];
    const spec = withSecrets(request);
    const comes = spec.code === "" && spec.command.length === 0 && spec.archiveSha256 === "";
    const archiveSha256 = comes ? "0".repeat(64) : spec.archiveSha256;
    const limits = checkSpec({ ...spec, archiveSha256 }, this.#deps.policy, violations);
    this.#deps.webhooks.checkForm(spec, violations);
    this.#checkEngine(spec, violations);
    if (violations.length > 0) throw new InvalidRequest(violations);
    const host = this.#hostFor(spec, limits);
    return { limits, host, image: this.#imageOf(spec), expectedMillis: await this.#expected(caller, spec) };
  }

  /** From the client, or learnt; null where neither knows. */
  async #expected(caller: Caller, spec: TaskSpec): Promise<number | null> {
    if (spec.expectedDurationMillis !== null) return spec.expectedDurationMillis;
    // What is wrong with the project is for the creation to say.
    const unsaid: FieldViolation[] = [];
    const program = await resolveProgram(spec, await this.#project(caller.tenant, spec, unsaid), unsaid);
    return await this.#deps.history.expect(caller.tenant, digestOfProgram(spec, program));
  }

  /** The task of an earlier request with the same id and content. Throws RequestIdReused where the content differs. */
  async findRepeated(caller: Caller, request: TaskRequest): Promise<Task | undefined> {
    const { spec } = request;
    if (spec.requestId === "") return undefined;
    const earlier = await this.#deps.store.findByRequestId(caller.tenant, spec.requestId);
    if (earlier === undefined) return undefined;
    if (earlier.specDigest !== this.#digest(request)) throw new RequestIdReused(spec.requestId, earlier.id);
    return (await this.#deps.book.find(earlier.id)) ?? earlier;
  }

  #refuseWhilePaused(): void {
    const { scheduler, queue, policy } = this.#deps;
    if (scheduler.pausedReason !== undefined) throw new Unavailable(scheduler.pausedReason, 2000);
    if (queue.count >= policy.maxQueuedTasks) {
      throw new QuotaExceeded(
        "queued_tasks",
        `${queue.count} tasks are queued, the most this server takes; try again when some have started`,
      );
    }
  }

  async #check(
    caller: Caller,
    id: string,
    spec: TaskSpec,
    wrong: readonly FieldViolation[],
  ): Promise<Checked> {
    const violations = [...wrong];
    const { policy, dependencies } = this.#deps;
    const limits = checkSpec(spec, policy, violations);
    const project = await this.#project(caller.tenant, spec, violations);
    const program = await resolveProgram(spec, project, violations);
    await this.#deps.webhooks.check(caller.tenant, spec, violations);
    await dependencies.claim(id, caller.tenant, spec, violations);
    const inputs = await this.#deps.checkInputs.check(caller.tenant, spec, project, limits, violations);
    this.#checkEngine(spec, violations);
    const environment = await this.#deps.environments.resolve(spec, project && "stored", violations);
    if (violations.length > 0) throw new InvalidRequest(violations);
    this.#deps.quota.refuseWhatNeverFits(caller.tenant, limits);
    const host = await this.#place(spec, limits, environment);
    const programDigest = digestOfProgram(spec, program);
    const expectedMillis =
      spec.expectedDurationMillis ?? (await this.#deps.history.expect(caller.tenant, programDigest));
    return { limits, program, inputs, environment, host, programDigest, expectedMillis };
  }

  #place(spec: TaskSpec, limits: TaskLimits, environment: TaskEnvironment | null): Promise<EngineHost> {
    const { hosts, policy, environments } = this.#deps;
    return placeTask(hosts, spec, limits, async (host) => {
      requireFit(host, spec, limits, policy);
      requireTracker(host, spec, policy);
      await this.#requireImage(host, this.#imageOf(spec));
      environments.requireBuilds(environment, host);
    });
  }

  #checkEngine(spec: TaskSpec, violations: FieldViolation[]): void {
    const { hosts } = this.#deps;
    if (spec.engine !== "" && !hosts.names.includes(spec.engine)) {
      violations.push({
        field: "placement.engine",
        description: `"${spec.engine.slice(0, 100)}" is no engine of this server; there are ${hosts.names.join(", ")}`,
      });
    } else if (spec.partition !== "" && hosts.get(spec.engine).engine.kind === "docker") {
      violations.push({
        field: "placement.partition",
        description: "means nothing to a Docker engine; leave it out, or name another engine",
      });
    }
  }

  #hostFor(spec: TaskSpec, limits: TaskLimits): EngineHost {
    const { hosts, policy } = this.#deps;
    const host = hosts.get(spec.engine);
    requireFit(host, spec, limits, policy);
    return host;
  }

  #imageOf({ image }: TaskSpec): string {
    const { defaultImage, imageAliases } = this.#deps.policy;
    return image === "" ? defaultImage : (imageAliases.get(image) ?? image);
  }

  /** Throws ImageRefused. While the engine is away a task of the server's own image is taken all the same: it waits in the queue. */
  async #requireImage(host: EngineHost, image: string): Promise<void> {
    const { defaultImage } = this.#deps.policy;
    try {
      await host.engine.resolveImage(image);
    } catch (error) {
      if (!(error instanceof Unavailable) || image !== defaultImage) throw error;
    }
  }

  /** Null for a snippet, a command, or an archive that is wrong anyway. */
  async #project(tenant: string, spec: TaskSpec, violations: FieldViolation[]): Promise<ProjectFacts | null> {
    const { archiveSha256: digest } = spec;
    if (!isSha256(digest)) return null;
    const { blobs, archives } = this.#deps;
    const blob = await blobs.find(tenant, digest);
    const refuse = (description: string) => violations.push({ field: "archive_sha256", description });
    if (blob === undefined) {
      refuse("is not stored; send it with UploadBlob first");
    } else if (blob.state === "REFUSED") {
      refuse(`was refused: ${blob.refusal}`);
    } else if (blob.manifest === null) {
      refuse("is a blob of plain bytes; send the project as tar, tar.gz or zip");
    } else if (!(await blobs.touch(tenant, digest, this.#deps.clock()))) {
      refuse("has just expired; send it again with UploadBlob");
    } else {
      return {
        contentBytes: blob.manifest.contentBytes,
        topLevelScripts: blob.manifest.topLevelScripts,
        has: (path, kind) => archives.has(digest, path, kind),
      };
    }
    return null;
  }

  /** Sealing differs each time, so secrets count by their fingerprints. */
  #digest({ spec, secrets }: TaskRequest): string {
    const { secretBox } = this.#deps;
    const old = Object.entries(spec.secretEnv).map(
      ([name, sealed]) => [name, secretBox.open(name, sealed)] as const,
    );
    const values = [...old, ...Object.entries(secrets)];
    const secretEnv = Object.fromEntries(
      values.map(([name, value]) => [name, secretBox.fingerprint(name, value)]),
    );
    return digestOfSpec({ ...spec, secretEnv });
  }

  #make(caller: Caller, id: string, request: TaskRequest, checked: Checked, origin: Origin): Task {
    const { clock, policy, secretBox } = this.#deps;
    const sealed = Object.entries(request.secrets).map(
      ([name, value]) => [name, secretBox.seal(name, value)] as const,
    );
    const overflows = checked.host === this.#deps.hosts.overflow;
    const spec: TaskSpec = {
      ...request.spec,
      // The one thing in it that was not asked for: wherever the record is read, it says where the task belongs.
      engine: request.spec.engine === "" && overflows ? checked.host.engine.name : request.spec.engine,
      secretEnv: { ...request.spec.secretEnv, ...Object.fromEntries(sealed) },
    };
    const createTime = clock();
    const [, traceId, parentSpanId] = caller.traceparent?.split("-") ?? [];
    return {
      id,
      tenant: caller.tenant,
      owner: caller.subject,
      version: 1,
      state: "QUEUED",
      spec,
      specDigest: this.#digest(request),
      programDigest: checked.programDigest,
      expectedMillis: checked.expectedMillis,
      limits: checked.limits,
      isolation: spec.isolation ?? policy.defaultIsolation,
      network: networkOf(spec),
      image: this.#imageOf(spec),
      program: checked.program,
      environment: checked.environment,
      archiveSha256: spec.archiveSha256,
      inputs: checked.inputs,
      wait: null,
      result: null,
      attempts: [],
      stages: openingStages(id, origin, createTime),
      cancellation: null,
      traceId: traceId ?? newTraceId(),
      rootSpanId: newSpanId(),
      parentSpanId: parentSpanId ?? "",
      createTime,
      startTime: null,
      endTime: null,
      expireTime: null,
      rerunOf: origin.rerunOf,
      cacheKey: "",
      cachedFrom: "",
      cachedOutput: null,
    };
  }
}

/** For checking alone: names and sizes of the secrets beside everything else. */
function withSecrets({ spec, secrets }: TaskRequest): TaskSpec {
  return { ...spec, secretEnv: { ...spec.secretEnv, ...secrets } };
}

function openingStages(id: string, origin: Origin, now: Date): Stage[] {
  const stage = (name: "upload" | "validate", startTime: Date, endTime: Date, note: string): Stage => ({
    name,
    attempt: 0,
    startTime,
    endTime,
    note,
    spanId: stageSpanId(id, name, 0),
    error: "",
  });
  const { upload, startTime } = origin;
  const stages =
    upload === null ? [] : [stage("upload", startTime, upload.endTime, formatSize(upload.bytes))];
  return [...stages, stage("validate", upload?.endTime ?? startTime, now, ""), queueStage(id, 1, now)];
}
