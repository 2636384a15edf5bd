import { createHash } from "node:crypto";
import type { Capabilities, Capacity } from "#server/domain/capabilities.ts";
import { InvalidRequest, NotFound, OffsetBeyondEnd, Unsupported, WrongState } from "#server/domain/errors.ts";
import type { LedgerEntry, UsageSum } from "#server/domain/ledger.ts";
import type { ReconcileReport } from "#server/domain/reconcile-report.ts";
import { isTerminal, NO_USAGE, type Task, type TaskSpec } from "#server/domain/task.ts";
import type { TaskEvent } from "#server/domain/task-event.ts";
import type {
  Application,
  BlobStatus,
  Caller,
  Checked,
  TasksUnderWay,
} from "#server/transport/application.ts";
import { FakeWebhooks } from "./fake-webhooks.ts";

const RESOURCES = { cpuMillis: 1000, ramBytes: 2 ** 29, storageBytes: 2 ** 30, gpuCount: 0 };
const BUDGETS = {
  processes: 256,
  openFiles: 1024,
  inodes: 10_000,
  logBytes: 2 ** 26,
  artifactBytes: 2 ** 30,
};

export const CAPACITY: Capacity = {
  total: RESOURCES,
  reserve: { ...RESOURCES, cpuMillis: 0 },
  held: RESOURCES,
  foreign: RESOURCES,
  free: RESOURCES,
  running: 1,
  queued: 2,
  warm: 3,
};

const SUM: UsageSum = {
  attempts: 2,
  chargedMillis: 1500n,
  cpuMilliMillis: 3_000_000n,
  ramByteMillis: 3n * 2n ** 29n * 1000n,
  // Beyond what a number holds, and still a duration that protos allow.
  storageByteMillis: 2n ** 76n,
  gpuMillis: new Map([["T4", 1500n]]),
  cpuMicros: 1_250_001n,
  peakRamBytes: 5,
  costs: [{ currency: "EUR", nanos: 12_000_000_345n }],
};

const ENTRY: LedgerEntry = {
  taskId: "task-1",
  attempt: 1,
  tenant: "tenant",
  owner: "owner",
  labels: { a: "b" },
  runStartTime: new Date(1_700_000_000_000),
  endTime: new Date(1_700_000_001_000),
  reason: "EXITED",
  resources: RESOURCES,
  usage: {
    ...NO_USAGE,
    chargedMillis: 1000,
    charge: {
      currency: "EUR",
      nanos: 1_000_000_001n,
      cpuHourNanos: 36_000_000n,
      ramGbHourNanos: 1n,
      storageGbHourNanos: 0n,
      gpus: [{ model: "T4", count: 1, hourNanos: 2_500_000_000n }],
    },
  },
};

const CAPABILITIES: Capabilities = {
  version: "0.0.0",
  engines: [
    {
      name: "docker",
      kind: "docker",
      version: "20.10",
      tiers: [
        {
          isolation: "CONTAINER",
          runtime: "runc",
          limits: [{ limit: "RAM", level: "ENFORCED", mechanism: "cgroup", advice: "" }],
          networks: ["NONE", "EGRESS"],
        },
      ],
      largestTask: RESOURCES,
      gpuModels: [],
      aliases: ["atena02"],
      trackers: new Map([["experiments", "it cannot be looked up"]]),
      unavailable: "it does not answer",
    },
  ],
  defaultResources: RESOURCES,
  defaultBudgets: BUDGETS,
  maxBudgets: BUDGETS,
  defaultTimeoutMillis: 30_000,
  maxTimeoutMillis: 3_600_000,
  maxCodeBytes: 2 ** 20,
  maxUploadBytes: 2 ** 30,
  maxChunkBytes: 2 ** 20,
  allowedImages: ["python:*"],
  imageAliases: ["sklearn"],
  instanceTypes: new Map([["small", { cpu: "1", gpu: "", ram: "1GB", storage: "", gpuModel: "" }]]),
  presignedUrls: false,
  environments: {
    unsupported: "",
    installer: "uv 0.1",
    sources: true,
    addresses: false,
    resources: RESOURCES,
    timeoutMillis: 60_000,
  },
  traceUrl: "http://localhost:16686/trace/{trace_id}",
};

/** A queued task as it is right after it was made. */
export function taskOf(id: string, spec: TaskSpec, caller: Caller, changes: Partial<Task> = {}): Task {
  return {
    id,
    tenant: caller.tenant,
    owner: caller.subject,
    version: 1,
    state: "QUEUED",
    spec,
    programDigest: "",
    expectedMillis: null,
    specDigest: "",
    limits: { ...RESOURCES, ...BUDGETS, runMillis: 30_000, queueMillis: null, totalMillis: null },
    isolation: "CONTAINER",
    network: "NONE",
    image: "longshore/executor",
    program: { kind: "script", script: "main.py" },
    inputs: [],
    environment: null,
    archiveSha256: spec.archiveSha256,
    wait: null,
    result: null,
    attempts: [],
    stages: [],
    cancellation: null,
    traceId: "4bf92f3577b34da6a3ce929d0e0e4736",
    rootSpanId: "00f067aa0ba902b7",
    parentSpanId: "",
    createTime: new Date(1_700_000_000_000),
    startTime: null,
    endTime: null,
    expireTime: null,
    rerunOf: "",
    cacheKey: "",
    cachedFrom: "",
    cachedOutput: null,
    ...changes,
  };
}

/** An application of maps: enough state for every RPC to answer, and to be wrong in the ways a client can cause. */
export class FakeApplication implements Application {
  readonly tasks = new Map<string, Task>();
  readonly blobs = new Map<string, Buffer>();
  readonly webhooks = new FakeWebhooks();
  /** What watches yield after the first snapshot. */
  events: readonly TaskEvent[] = [];

  async createTask(caller: Caller, request: Checked & { spec: TaskSpec }): Promise<Task> {
    const violations = [...request.violations];
    const { code, archiveSha256, command } = request.spec;
    if (code === "" && archiveSha256 === "" && command.length === 0) {
      violations.push({ field: "code", description: "is empty" });
    }
    refuse(violations);
    const task = taskOf(`task-${this.tasks.size + 1}`, request.spec, caller);
    this.tasks.set(task.id, task);
    return task;
  }

  async submitTask(...[caller, request, , chunks]: Parameters<Application["submitTask"]>): Promise<Task> {
    refuse(request.violations);
    const { sha256 } = await this.#store(chunks);
    return this.createTask(caller, { spec: { ...request.spec, archiveSha256: sha256 }, violations: [] });
  }

  async validateTask(...[, request]: Parameters<Application["validateTask"]>): Promise<void> {
    refuse(request.violations);
  }

  async getTask(_caller: Caller, id: string): Promise<Task> {
    const task = this.tasks.get(id);
    if (task === undefined) throw new NotFound("task", id);
    return task;
  }

  async listTasks(...[, request]: Parameters<Application["listTasks"]>) {
    const violations = [...request.violations];
    if (request.pageToken !== "") violations.push({ field: "page_token", description: "is not one of ours" });
    refuse(violations);
    return { tasks: [...this.tasks.values()].reverse(), nextPageToken: "" };
  }

  async *watchTask(
    ...[caller, { id, logs }]: Parameters<Application["watchTask"]>
  ): AsyncGenerator<TaskEvent> {
    const task = await this.getTask(caller, id);
    yield { kind: "task", cursor: "first", time: task.createTime, task };
    for (const event of this.events) if (logs || event.kind !== "log") yield event;
  }

  async *watchTasks(
    ...[, { maxTasks }]: Parameters<Application["watchTasks"]>
  ): AsyncGenerator<TasksUnderWay> {
    const tasks = [...this.tasks.values()].filter(({ state }) => !isTerminal(state));
    yield { tasks: tasks.slice(0, maxTasks), totalCount: tasks.length };
  }

  async cancelTask(caller: Caller, id: string): Promise<Task> {
    const task = { ...(await this.getTask(caller, id)), state: "CANCELLED" } as const;
    this.tasks.set(id, task);
    return task;
  }

  async rerunTask(...[caller, request]: Parameters<Application["rerunTask"]>): Promise<Task> {
    const { spec } = await this.getTask(caller, request.id);
    return this.createTask(caller, { spec, violations: request.violations });
  }

  async deleteTask(caller: Caller, id: string): Promise<void> {
    const task = await this.getTask(caller, id);
    if (!isTerminal(task.state)) throw new WrongState("cancel it first", task.state);
    this.tasks.delete(id);
  }

  async listArtifacts(...[caller, request]: Parameters<Application["listArtifacts"]>) {
    refuse(request.violations);
    await this.getTask(caller, request.taskId);
    return { artifacts: [{ path: "out.bin", sizeBytes: 3, sha256: "0".repeat(64) }], nextPageToken: "" };
  }

  async *downloadArtifact(...[caller, id, path, offset]: Parameters<Application["downloadArtifact"]>) {
    await this.getTask(caller, id);
    if (path !== "out.bin") throw new NotFound("artifact", path);
    yield* slices(Buffer.from("abc"), offset);
  }

  async getBlob(_caller: Caller, sha256: string): Promise<BlobStatus> {
    return this.#status(sha256);
  }

  async uploadBlob(...[, , chunks]: Parameters<Application["uploadBlob"]>): Promise<BlobStatus> {
    return this.#store(chunks);
  }

  async *downloadBlob(...[, sha256, offset]: Parameters<Application["downloadBlob"]>) {
    const blob = this.blobs.get(sha256);
    if (blob === undefined) throw new NotFound("blob", sha256);
    yield* slices(blob, offset);
  }

  async createUploadUrl(...[, request]: Parameters<Application["createUploadUrl"]>): Promise<never> {
    refuse(request.violations);
    throw new Unsupported("this server keeps blobs in files, which have no address");
  }

  async createDownloadUrl(...[, request]: Parameters<Application["createDownloadUrl"]>): Promise<never> {
    refuse(request.violations);
    throw new Unsupported("this server keeps blobs in files, which have no address");
  }

  async getUsage(...[, request]: Parameters<Application["getUsage"]>) {
    refuse(request.violations);
    return { groups: [{ key: "2026-11-21", sum: SUM }], total: SUM, nextPageToken: "" };
  }

  async listUsage(...[, request]: Parameters<Application["listUsage"]>) {
    refuse(request.violations);
    return { entries: [ENTRY], nextPageToken: "" };
  }

  async getQuota() {
    const money = (nanos: bigint) => ({ currency: "EUR", nanos });
    return [
      { name: "cpu", used: 500, allowed: 2000 },
      { name: "monthly_spend", spent: money(5n), budget: money(10n ** 10n), resetTime: new Date(0) },
    ];
  }

  async estimateCost(...[, { spec, violations }]: Parameters<Application["estimateCost"]>) {
    refuse([
      ...violations,
      ...(spec.code === "" && spec.command.length === 0 ? [{ field: "code", description: "is empty" }] : []),
    ]);
    const { charge } = ENTRY.usage;
    const limits = { ...RESOURCES, ...BUDGETS, runMillis: 30_000, queueMillis: null, totalMillis: null };
    return { limits, longestMillis: 30_000, most: charge, expectedMillis: 1000, expected: charge };
  }

  async getCapabilities(): Promise<Capabilities> {
    return CAPABILITIES;
  }

  async getCapacity(engine: string): Promise<Capacity> {
    if (engine !== "" && engine !== "docker") throw new NotFound("engine", engine);
    return CAPACITY;
  }

  async getReconcileReport(): Promise<ReconcileReport> {
    return {
      startTime: new Date(0),
      queuedTasks: 1,
      adoptedAttempts: 2,
      releasedAttempts: 3,
      lastPassTime: null,
      passCount: 0,
      removalCount: 1,
      removals: [{ time: new Date(0), kind: "SANDBOX", name: "01FAKE" }],
      problems: [],
    };
  }

  async *watchCapacity(engine: string): AsyncGenerator<Capacity> {
    yield await this.getCapacity(engine);
  }

  async #store(chunks: AsyncIterable<Uint8Array>): Promise<BlobStatus> {
    const bytes = Buffer.concat(await Array.fromAsync(chunks));
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    this.blobs.set(sha256, bytes);
    return this.#status(sha256);
  }

  #status(sha256: string): BlobStatus {
    const size = this.blobs.get(sha256)?.length;
    return {
      sha256,
      state: size === undefined ? "MISSING" : "STORED",
      sizeBytes: size ?? 0,
      committedBytes: size ?? 0,
      format: size === undefined ? null : "RAW",
      refusal: "",
      expireTime: null,
    };
  }
}

function refuse(violations: Checked["violations"]): void {
  if (violations.length > 0) throw new InvalidRequest(violations);
}

function* slices(bytes: Buffer, offset: number) {
  if (offset > bytes.length) throw new OffsetBeyondEnd(offset, bytes.length);
  yield { offset, chunk: bytes.subarray(offset) };
}
