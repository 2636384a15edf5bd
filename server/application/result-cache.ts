import type { Policy } from "../domain/policy.ts";
import type { BlobStore } from "../domain/ports/blob-store.ts";
import { type ArtifactStore, SourceGone, type TaskStore } from "../domain/ports/task-store.ts";
import type { Log } from "../domain/ports/telemetry.ts";
import { isTerminal, type Task, type Wait } from "../domain/task.ts";
import { isDamaged } from "../domain/task-record.ts";
import { closeStages, type TaskChange } from "../domain/transition.ts";
import type { CacheKeys } from "./cache-keys.ts";
import type { EngineHosts } from "./engine-host.ts";
import { factsOf } from "./log-facts.ts";
import type { TaskBook } from "./task-book.ts";

/** Of equal earlier tasks, the newest are the likeliest to have the image of now, and their artifacts still. */
const MOST_SOURCES = 5;
const ARTIFACTS_PER_PAGE = 1000;

/** One task that runs for all that ask for the same. */
interface Leader {
  readonly key: string;
  readonly taskId: string;
  readonly priority: number;
  /** In the order in which they came. */
  readonly followers: Map<string, Task>;
}

export interface ResultCacheDeps {
  readonly book: TaskBook;
  readonly store: TaskStore;
  readonly artifacts: ArtifactStore;
  readonly blobs: BlobStore;
  readonly hosts: EngineHosts;
  readonly keys: CacheKeys;
  readonly policy: Policy;
  readonly log: Log;
  readonly clock: () => Date;
  /** Hash of the environment that a task would run with in this image now. */
  readonly environmentOf: (task: Task, imageDigest: string) => string;
  /** Nothing answers the task; it has to run. */
  readonly miss: (task: Task) => void;
}

/**
 * Answers tasks that ask for it from an equal earlier one that succeeded. Of equal ones at once the first runs and the others wait for
 * it; when it does not succeed, the next one runs. Who is more urgent than the one that runs does not wait for it.
 */
export class ResultCache {
  readonly #deps: ResultCacheDeps;
  /** By key. */
  readonly #leaders = new Map<string, Leader>();
  /** Of each task here, the leader it is or follows; undefined while that is not known. */
  readonly #places = new Map<string, Leader | undefined>();
  readonly #looking = new Set<string>();
  #followerCount = 0;
  readonly #work = new Set<Promise<void>>();
  readonly #closing = new AbortController();

  constructor(deps: ResultCacheDeps) {
    this.#deps = deps;
  }

  /** Tasks that are neither in line nor started. */
  get waitingCount(): number {
    return this.#followerCount;
  }

  /** It waits here. */
  has(taskId: string): boolean {
    return this.#looking.has(taskId) || this.#places.get(taskId)?.followers.has(taskId) === true;
  }

  /** At a start: a task that runs already leads those that are equal. */
  adopt(task: Task): void {
    if (task.spec.useResultCache && task.cacheKey !== "") this.#lead(task, task.cacheKey);
  }

  /** Undefined when the task is none of this one's business; else settles when it is answered, waits, or was given to `miss`. */
  enter(task: Task): Promise<void> | undefined {
    if (!task.spec.useResultCache || task.network !== "NONE") return undefined;
    if (task.attempts.length > 0) {
      this.adopt(task);
      return undefined;
    }
    this.#places.set(task.id, undefined);
    this.#looking.add(task.id);
    const work = this.#answer(task)
      .catch((error: unknown) => {
        if (this.#closing.signal.aborted) return;
        // The cache is a favour: whatever is wrong with it, the task can run.
        this.#deps.log.warn("the result cache could not be asked", {
          ...factsOf(task),
          error: String(error),
        });
        this.#miss(task);
      })
      .catch((error: unknown) =>
        this.#deps.log.error("a task was left queued", { ...factsOf(task), error: String(error) }),
      )
      .finally(() => {
        this.#looking.delete(task.id);
        this.#work.delete(work);
      });
    this.#work.add(work);
    return work;
  }

  /** To be called after the commit of every ending. */
  ended(task: Task): void {
    const leader = this.#places.get(task.id);
    this.#places.delete(task.id);
    if (leader?.followers.delete(task.id) === true) this.#followerCount--;
    if (leader?.taskId !== task.id) return;
    this.#leaders.delete(leader.key);
    this.#followerCount -= leader.followers.size;
    const source = task.state === "SUCCEEDED" ? task.cachedFrom || task.id : undefined;
    for (const follower of leader.followers.values()) {
      this.#places.delete(follower.id);
      const work = this.#follow(follower, source).finally(() => this.#work.delete(work));
      this.#work.add(work);
    }
  }

  /** Whom a task waits for that will be answered from it; undefined for every other. */
  waitOf(taskId: string): Wait | undefined {
    const leader = this.#places.get(taskId);
    const task = leader?.followers.get(taskId);
    if (leader === undefined || task === undefined) return undefined;
    const state = this.#deps.book.live(leader.taskId)?.state.toLowerCase() ?? "queued";
    return {
      kind: "DEPENDENCY",
      limit: null,
      needed: 0,
      available: 0,
      position: 0,
      blockingTaskIds: [leader.taskId],
      since: task.createTime,
      message: `waiting for the result of task ${leader.taskId}, which is equal and ${state}`,
    };
  }

  /** What was not answered is at the next start. */
  async close(): Promise<void> {
    this.#closing.abort();
    await Promise.allSettled(this.#work);
  }

  /** A task whose leader has ended: from its result when it succeeded, else as if it had just come. */
  async #follow(task: Task, source: string | undefined): Promise<void> {
    if (source !== undefined) {
      this.#places.set(task.id, undefined);
      try {
        const found = await this.#deps.store.get(source);
        if (found !== undefined && !isDamaged(found) && (await this.#serve(task, found))) return;
      } catch (error) {
        if (this.#closing.signal.aborted) return;
        this.#deps.log.warn("an equal result could not be used", { ...factsOf(task), error: String(error) });
      }
    }
    if (!this.#closing.signal.aborted) await this.enter(this.#deps.book.live(task.id) ?? task);
  }

  async #answer(task: Task): Promise<void> {
    const key = task.cacheKey === "" ? await this.#identify(task) : task.cacheKey;
    // It may have been cancelled meanwhile.
    if (!this.#places.has(task.id)) return;
    if (key === "") return this.#miss(task);
    const leader = this.#leaders.get(key);
    if (leader !== undefined && leader.priority >= task.spec.priority) {
      if (!leader.followers.has(task.id)) this.#followerCount++;
      leader.followers.set(task.id, task);
      this.#places.set(task.id, leader);
      this.#deps.book.changes.tell(task.id);
      return;
    }
    if (leader === undefined) this.#lead(task, key);
    for (const source of await this.#deps.store.cacheSources(task.tenant, key, MOST_SOURCES))
      if (await this.#serve(task, source)) return;
    this.#miss(task);
  }

  #lead(task: Task, key: string): void {
    if (this.#leaders.has(key)) return;
    const { id: taskId } = task;
    const leader = { key, taskId, priority: task.spec.priority, followers: new Map<string, Task>() };
    this.#leaders.set(key, leader);
    this.#places.set(taskId, leader);
  }

  /** The key of a task that took artifacts which were not there when it came; kept, so that it can be a source itself. */
  async #identify(task: Task): Promise<string> {
    const { book, keys } = this.#deps;
    const cacheKey = await keys.of(task);
    if (cacheKey === "") return "";
    await book.change(task.id, (now) =>
      now.state === "QUEUED" ? { kind: "identify", cacheKey } : undefined,
    );
    return cacheKey;
  }

  #miss(task: Task): void {
    const leader = this.#places.get(task.id);
    if (leader === undefined) this.#places.delete(task.id);
    const present = this.#deps.book.live(task.id);
    if (present?.state === "QUEUED" && !this.#closing.signal.aborted) this.#deps.miss(present);
  }

  /** False when the source cannot stand for a run of now. */
  async #serve(task: Task, source: Task): Promise<boolean> {
    if (!(await this.#isGood(task, source))) return false;
    const { book, policy, clock, log } = this.#deps;
    const { result } = source;
    const last = source.attempts.at(-1);
    if (result === null || last === undefined) return false;
    const output = { engine: last.engine, sandboxId: last.sandboxId };
    const answer = (present: Task): TaskChange | undefined => {
      if (present.state !== "QUEUED" || present.attempts.length > 0) return undefined;
      const time = clock();
      const retention = present.spec.retentionMillis ?? policy.defaultRetentionMillis;
      const stages = closeStages(present, time).map((stage) => ({ ...stage, note: "cached" }));
      const expireTime = new Date(time.getTime() + retention);
      const cached = { from: source.id, output };
      return { kind: "end", time, result, usage: null, runTime: null, expireTime, stages, cached };
    };
    try {
      const answered = await book.record(task.id, answer, this.#closing.signal);
      if (isTerminal(answered.state))
        log.info("task answered from the cache", { ...factsOf(task), source: source.id });
      return isTerminal(answered.state);
    } catch (error) {
      if (error instanceof SourceGone) return false;
      throw error;
    }
  }

  /** What its key does not say: that the source ran in the image and environment of now, and that all it left is still there. */
  async #isGood(task: Task, source: Task): Promise<boolean> {
    if (source.tenant !== task.tenant || source.state !== "SUCCEEDED" || source.cachedFrom !== "")
      return false;
    if (source.result === null || source.result.artifactsError !== "") return false;
    const { hosts, artifacts, blobs, environmentOf } = this.#deps;
    const { digest } = await hosts.get(task.spec.engine).engine.resolveImage(task.image);
    const last = source.attempts.at(-1);
    if (last?.imageDigest !== digest || last.environmentId !== environmentOf(task, digest)) return false;
    for (let after: string | undefined = ""; after !== undefined; ) {
      const page = await artifacts.list(source.id, after, ARTIFACTS_PER_PAGE);
      for (const { sha256, sizeBytes } of page) if ((await blobs.size(sha256)) !== sizeBytes) return false;
      after = page.length < ARTIFACTS_PER_PAGE ? undefined : page.at(-1)?.path;
    }
    return true;
  }
}
