import type { AuditEvent } from "#server/domain/audit.ts";
import type { BlobRecord } from "#server/domain/blob.ts";
import { outcomeOf, type TaskOutcome } from "#server/domain/dependency.ts";
import { endedEntries } from "#server/domain/ledger.ts";
import type { BlobIndex } from "#server/domain/ports/blob-store.ts";
import {
  type ArtifactStore,
  RequestIdTaken,
  SourceGone,
  StaleTask,
  type TaskPage,
  type TaskQuery,
  type TaskStore,
} from "#server/domain/ports/task-store.ts";
import { type Artifact, isTerminal, type Task } from "#server/domain/task.ts";
import { MemoryAuditLog, MemoryTokenStore } from "./memory-access.ts";
import { MemoryLedger } from "./memory-ledger.ts";
import { MemoryOutbox, MemoryWebhookStore } from "./memory-webhooks.ts";

interface Rows {
  readonly tasks: Map<string, Task>;
  readonly artifacts: Map<string, readonly Artifact[]>;
  readonly blobs: Map<string, BlobRecord>;
}

/** The stores of the database over maps; they see each other's rows as the tables do. */
export class MemoryDatabase implements AsyncDisposable {
  readonly tasks: MemoryTaskStore;
  readonly artifacts: MemoryArtifactStore;
  readonly blobs: MemoryBlobIndex;
  readonly ledger = new MemoryLedger();
  readonly audit = new MemoryAuditLog();
  readonly tokens = new MemoryTokenStore(this.audit);
  readonly outbox = new MemoryOutbox();
  readonly webhooks = new MemoryWebhookStore(this.outbox, this.audit);

  constructor() {
    const rows: Rows = { tasks: new Map(), artifacts: new Map(), blobs: new Map() };
    this.tasks = new MemoryTaskStore(rows, this.ledger, this.audit, this.outbox);
    this.artifacts = new MemoryArtifactStore(rows);
    this.blobs = new MemoryBlobIndex(rows);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Nothing is held.
  }
}

export class MemoryTaskStore implements TaskStore {
  readonly #rows: Rows;
  readonly #ledger: MemoryLedger;
  readonly #audit: MemoryAuditLog;
  readonly #outbox: MemoryOutbox;

  constructor(rows: Rows, ledger: MemoryLedger, audit: MemoryAuditLog, outbox: MemoryOutbox) {
    this.#rows = rows;
    this.#ledger = ledger;
    this.#audit = audit;
    this.#outbox = outbox;
  }

  async insert(task: Task, event?: AuditEvent): Promise<void> {
    const holder = this.#holder(task.tenant, task.spec.requestId);
    if (holder !== undefined) throw new RequestIdTaken(holder.id);
    if (this.#rows.tasks.has(task.id)) throw new Error(`there is already a task ${task.id}`);
    this.#rows.tasks.set(task.id, task);
    if (event !== undefined) await this.#audit.append(event);
    this.#outbox.add(task, task.createTime);
  }

  async save(next: Task, previous: Task, event?: AuditEvent): Promise<void> {
    if (this.#rows.tasks.get(previous.id)?.version !== previous.version) {
      throw new StaleTask(previous.id, previous.version);
    }
    if (next.cachedFrom !== previous.cachedFrom) {
      const source = this.#rows.tasks.get(next.cachedFrom);
      if (source?.tenant !== next.tenant) throw new SourceGone(next.cachedFrom);
      this.#rows.artifacts.set(next.id, this.#rows.artifacts.get(source.id) ?? []);
    }
    this.#rows.tasks.set(next.id, next);
    if (event !== undefined) await this.#audit.append(event);
    this.#ledger.add(endedEntries(next, previous));
    if (next.state !== previous.state) this.#outbox.add(next, new Date());
  }

  async get(id: string): Promise<Task | undefined> {
    return this.#rows.tasks.get(id);
  }

  async findByRequestId(tenant: string, requestId: string): Promise<Task | undefined> {
    return this.#holder(tenant, requestId);
  }

  async list(query: TaskQuery): Promise<TaskPage> {
    const found = this.#byId()
      .reverse()
      .filter((task) => matches(task, query));
    const records = found.slice(0, query.limit);
    return { records, nextAfterId: found.length > query.limit ? (records.at(-1)?.id ?? "") : "" };
  }

  async unfinished(): Promise<Task[]> {
    return this.#byId().filter(
      (task) => !isTerminal(task.state) || task.attempts.some((attempt) => !attempt.released),
    );
  }

  async lastEnded(limit: number): Promise<Task[]> {
    const end = (task: Task) => task.endTime?.getTime() ?? 0;
    return this.#byId()
      .reverse()
      .filter((task) => task.endTime !== null)
      .sort((a, b) => end(b) - end(a))
      .slice(0, limit);
  }

  async outcomes(ids: readonly string[]): Promise<Map<string, TaskOutcome>> {
    const found = ids.flatMap((id) => this.#rows.tasks.get(id) ?? []);
    return new Map(found.map((task) => [task.id, outcomeOf(task)]));
  }

  async cacheSources(tenant: string, cacheKey: string, limit: number): Promise<Task[]> {
    return this.#byId()
      .reverse()
      .filter((task) => task.tenant === tenant && task.cacheKey === cacheKey)
      .filter(({ state, cachedFrom }) => state === "SUCCEEDED" && cachedFrom === "")
      .slice(0, limit);
  }

  async lastRuns(tenant: string, programDigest: string, limit: number): Promise<number[]> {
    return this.#byId()
      .reverse()
      .filter((task) => task.tenant === tenant && task.programDigest === programDigest)
      .filter(({ state, startTime }) => state === "SUCCEEDED" && startTime !== null)
      .slice(0, limit)
      .map(({ startTime, endTime }) => Math.max(0, (endTime?.getTime() ?? 0) - (startTime?.getTime() ?? 0)));
  }

  async knownSandboxes(ids: readonly string[]): Promise<Set<string>> {
    const named = new Set(
      this.#byId().flatMap((task) => [
        ...task.attempts.map((attempt) => attempt.sandboxId),
        task.cachedOutput?.sandboxId,
      ]),
    );
    return new Set(ids.filter((id) => named.has(id)));
  }

  async remove(id: string, event?: AuditEvent): Promise<boolean> {
    this.#rows.artifacts.delete(id);
    const removed = this.#rows.tasks.delete(id);
    if (removed && event !== undefined) await this.#audit.append(event);
    return removed;
  }

  async expired(time: Date, limit: number): Promise<Task[]> {
    const expiry = (task: Task) => task.expireTime?.getTime() ?? Number.POSITIVE_INFINITY;
    return this.#byId()
      .filter((task) => expiry(task) < time.getTime())
      .sort((a, b) => expiry(a) - expiry(b))
      .slice(0, limit);
  }

  #holder(tenant: string, requestId: string): Task | undefined {
    if (requestId === "") return undefined;
    return this.#byId().find((task) => task.tenant === tenant && task.spec.requestId === requestId);
  }

  #byId(): Task[] {
    return [...this.#rows.tasks.values()].sort((a, b) => compareText(a.id, b.id));
  }
}

function matches(task: Task, query: TaskQuery): boolean {
  return (
    task.tenant === query.tenant &&
    (query.owner === "" || task.owner === query.owner) &&
    (query.states.length === 0 || query.states.includes(task.state)) &&
    (query.reasons.length === 0 || (task.result !== null && query.reasons.includes(task.result.reason))) &&
    (query.createdAfter === null || task.createTime >= query.createdAfter) &&
    (query.createdBefore === null || task.createTime < query.createdBefore) &&
    (query.afterId === "" || compareText(task.id, query.afterId) < 0) &&
    Object.entries(query.labels).every(
      ([key, value]) => Object.hasOwn(task.spec.labels, key) && task.spec.labels[key] === value,
    )
  );
}

/** Databases compare the bytes of the UTF-8 form; JavaScript's `<` puts what lies beyond U+FFFF elsewhere. */
function compareText(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

export class MemoryArtifactStore implements ArtifactStore {
  readonly #rows: Rows;

  constructor(rows: Rows) {
    this.#rows = rows;
  }

  async replace(taskId: string, _tenant: string, artifacts: readonly Artifact[]): Promise<void> {
    if (!this.#rows.tasks.has(taskId)) throw new Error(`there is no task ${taskId}`);
    this.#rows.artifacts.set(
      taskId,
      [...artifacts].sort((a, b) => compareText(a.path, b.path)),
    );
  }

  async list(taskId: string, afterPath: string, limit: number): Promise<Artifact[]> {
    const all = this.#rows.artifacts.get(taskId) ?? [];
    return all.filter(({ path }) => compareText(path, afterPath) > 0).slice(0, limit);
  }

  async find(taskId: string, path: string): Promise<Artifact | undefined> {
    return this.#rows.artifacts.get(taskId)?.find((artifact) => artifact.path === path);
  }
}

export class MemoryBlobIndex implements BlobIndex {
  readonly #rows: Rows;

  constructor(rows: Rows) {
    this.#rows = rows;
  }

  async find(tenant: string, sha256: string): Promise<BlobRecord | undefined> {
    return this.#rows.blobs.get(key(tenant, sha256));
  }

  async put(record: BlobRecord): Promise<void> {
    this.#rows.blobs.set(key(record.tenant, record.sha256), record);
  }

  async remove(tenant: string, sha256: string): Promise<boolean> {
    return this.#rows.blobs.delete(key(tenant, sha256));
  }

  async touch(tenant: string, sha256: string, time: Date): Promise<boolean> {
    const record = this.#rows.blobs.get(key(tenant, sha256));
    if (record === undefined) return false;
    if (record.useTime < time) this.#rows.blobs.set(key(tenant, sha256), { ...record, useTime: time });
    return true;
  }

  async removeUnused(time: Date, limit: number): Promise<string[]> {
    const tasks = [...this.#rows.tasks.values()];
    const unused = [...this.#rows.blobs.values()]
      .filter(({ useTime }) => useTime < time)
      .filter(({ tenant, sha256 }) => !tasks.some((task) => task.tenant === tenant && names(task, sha256)))
      .sort((a, b) => a.useTime.getTime() - b.useTime.getTime())
      .slice(0, limit);
    for (const { tenant, sha256 } of unused) this.#rows.blobs.delete(key(tenant, sha256));
    return unused.map(({ sha256 }) => sha256);
  }

  async storedBytes(tenant: string): Promise<number> {
    const { blobs, artifacts, tasks } = this.#rows;
    const stored = [...blobs.values()].filter((blob) => blob.tenant === tenant && blob.state === "STORED");
    const left = [...artifacts].flatMap(([id, list]) => (tasks.get(id)?.tenant === tenant ? list : []));
    return [...stored, ...left].reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  }

  async isReferenced(sha256: string): Promise<boolean> {
    const { tasks, artifacts, blobs } = this.#rows;
    return (
      [...blobs.values()].some((blob) => blob.sha256 === sha256) ||
      [...tasks.values()].some((task) => names(task, sha256)) ||
      [...artifacts.values()].some((list) => list.some((artifact) => artifact.sha256 === sha256))
    );
  }
}

function names(task: Task, sha256: string): boolean {
  return task.archiveSha256 === sha256 || task.inputs.some((input) => input.sha256 === sha256);
}

/** A digest has one length, so no tenant's name can make two keys equal. */
function key(tenant: string, sha256: string): string {
  return `${sha256} ${tenant}`;
}
