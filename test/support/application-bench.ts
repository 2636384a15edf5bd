import { FileArchiveReader } from "#server/adapters/archive/file-archive-reader.ts";
import { TarArtifactReader } from "#server/adapters/archive/tar-artifact-reader.ts";
import { FileBlobStore } from "#server/adapters/blobs/file-blob-store.ts";
import type { Application } from "#server/application/api.ts";
import type { Caller } from "#server/application/caller.ts";
import { type ComposedApplication, composeApplication } from "#server/application/compose.ts";
import { createIds } from "#server/application/identity.ts";
import type { Parts } from "#server/application/parts.ts";
import { DEFAULT_ARCHIVE_LIMITS } from "#server/domain/blob.ts";
import type { TaskStore } from "#server/domain/ports/task-store.ts";
import { LOCAL_USER } from "#server/domain/principal.ts";
import { NO_QUOTAS } from "#server/domain/quota.ts";
import { isTerminal, type Task, type TaskSpec } from "#server/domain/task.ts";
import { isFinished } from "#server/domain/transition.ts";
import { CollectingLog } from "./fakes/collecting-log.ts";
import { CollectingMetrics } from "./fakes/collecting-metrics.ts";
import { FakeEngine } from "./fakes/fake-engine.ts";
import { FakeTracker } from "./fakes/fake-tracker.ts";
import { MemoryDatabase } from "./fakes/memory-database.ts";
import { MemoryEnvironmentStore } from "./fakes/memory-environment-store.ts";
import { samplePolicy } from "./sample-policy.ts";
import { SAMPLE_SPEC } from "./sample-task.ts";
import { TemporaryFolder } from "./temporary-folder.ts";

export const CALLER: Caller = {
  ...LOCAL_USER,
  tenant: "tenant",
  subject: "owner",
  traceparent: undefined,
  peer: "127.0.0.1",
};

/** The whole application over a fake engine and a database in memory; both outlive it, so that restarts can be played. */
export class ApplicationBench implements AsyncDisposable {
  readonly engine: FakeEngine;
  readonly database = new MemoryDatabase();
  readonly log = new CollectingLog();
  readonly metrics = new CollectingMetrics();
  readonly folder: TemporaryFolder;
  readonly blobs: FileBlobStore;
  readonly environments = new MemoryEnvironmentStore();
  /** What the data disk says of itself. */
  freeBytes = 2 ** 40;
  /** Added to the clock. */
  aheadMillis = 0;
  #composed: ComposedApplication | undefined;

  private constructor(folder: TemporaryFolder) {
    this.folder = folder;
    this.engine = new FakeEngine();
    this.blobs = new FileBlobStore({ directory: folder.path });
  }

  static async open(changes: Partial<Parts> = {}): Promise<ApplicationBench> {
    const bench = new ApplicationBench(await TemporaryFolder.create());
    await bench.start(changes);
    return bench;
  }

  get application(): Application {
    if (this.#composed === undefined) throw new Error("the application is not running");
    return this.#composed.application;
  }

  async start(changes: Partial<Parts> = {}): Promise<void> {
    const { database, log, metrics, folder, blobs } = this;
    const store: TaskStore = database.tasks;
    this.#composed = await composeApplication({
      engines: [this.engine],
      store,
      artifacts: database.artifacts,
      index: database.blobs,
      ledger: database.ledger,
      blobs,
      archives: new FileArchiveReader({ directory: folder.path, limits: DEFAULT_ARCHIVE_LIMITS }),
      artifactReader: new TarArtifactReader(DEFAULT_ARCHIVE_LIMITS),
      secretBox: { seal: (_, value) => value, open: (_, sealed) => sealed, fingerprint: (_, value) => value },
      tracker: new FakeTracker(),
      environments: {
        store: this.environments,
        mostBytes: 2 ** 30,
        builds: { kit: null, whyNot: "this server builds no environments" },
      },
      disk: { disk: { freeBytes: async () => this.freeBytes }, leastFreeBytes: 2 ** 20 },
      webhooks: {
        store: database.webhooks,
        outbox: database.outbox,
        channels: new Map(),
        schedule: { pausesMillis: [], disableAfterMillis: 1 },
      },
      telemetry: { tracing: false, record: () => undefined, close: async () => undefined },
      metrics,
      log,
      auditsTasks: true,
      policy: samplePolicy(),
      prices: null,
      quotas: NO_QUOTAS,
      version: "0",
      traceUrl: "",
      clock: () => new Date(Date.now() + this.aheadMillis),
      newId: createIds(),
      ...changes,
    });
    await this.#composed.start();
  }

  /** As a server that is killed: what runs goes on in its sandboxes. */
  async stop(): Promise<void> {
    await this.#composed?.close();
    this.#composed = undefined;
  }

  create(spec: Partial<TaskSpec>, caller = CALLER): Promise<Task> {
    const full = { ...SAMPLE_SPEC, requestId: "", labels: {}, ...spec };
    return this.application.createTask(caller, { spec: full, secrets: {}, violations: [] });
  }

  /** Follows the task until `seen` is true of it; rejects when it ends first. */
  async until(id: string, seen: (task: Task) => boolean, caller = CALLER): Promise<Task> {
    const request = { id, cursor: "", follow: true, tailBytes: 0, logs: false };
    for await (const event of this.application.watchTask(caller, request, AbortSignal.timeout(60_000)))
      if (event.kind === "task" && seen(event.task)) return event.task;
    throw new Error(`task ${id} ended first:\n${this.log.lines.join("\n")}`);
  }

  /** The record once it is terminal and its sandboxes are gone. */
  async finished(id: string): Promise<Task> {
    await this.until(id, (task) => isTerminal(task.state));
    for (;;) {
      const task = await this.database.tasks.get(id);
      if (task !== undefined && isFinished(task)) return task;
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await this.engine[Symbol.asyncDispose]();
    await this.folder[Symbol.asyncDispose]();
  }
}
