import { createHash } from "node:crypto";
import type { BuildKit } from "../domain/build-kit.ts";
import { NotFound, type Unavailable } from "../domain/errors.ts";
import type { TaskLimits } from "../domain/limits.ts";
import type { ShapeEnvironment } from "../domain/ports/engine.ts";
import {
  normalRequirements,
  parseRequirements,
  type Requirement,
  summarise,
} from "../domain/requirements.ts";
import { formatSize } from "../domain/resources.ts";
import type { Attempt, Task, Wait } from "../domain/task.ts";
import { isFinished } from "../domain/transition.ts";
import { BuildEnvironment, explain, type FailedBuild } from "./build-environment.ts";
import { BuildOutput } from "./build-output.ts";
import type { EngineHost } from "./engine-host.ts";
import type { EnvironmentRecord } from "./environment-record.ts";
import { EnvironmentRoom, type EnvironmentRoomDeps } from "./environment-room.ts";
import { FailedBuilds } from "./failed-builds.ts";
import type { NewId } from "./identity.ts";
import type { JournalHub } from "./journal-hub.ts";
import { factsOf } from "./log-facts.ts";
import { untilAvailable } from "./until-available.ts";

/** A sandbox that vanished says nothing about the requirements. */
const MOST_TRIES = 3;

interface Build {
  readonly id: string;
  readonly host: EngineHost;
  readonly imageDigest: string;
  readonly lines: readonly string[];
  readonly waiting: Set<Wanted>;
  readonly output: BuildOutput;
  readonly abort: AbortController;
  sandboxId: string;
  /** It holds its resources; before that it waits for them. */
  started: boolean;
}

/** A task that is not finished and has an environment. */
interface Wanted {
  task: Task;
  readonly host: EngineHost;
  readonly requirements: readonly Requirement[];
  since: Date;
  id: string;
  build: Build | undefined;
  ready: boolean;
  /** It waited for a build, which its record tells. */
  built: boolean;
}

/** What a start gets: its part of the shape, and what the record says of it. */
export interface TakenEnvironment {
  readonly environment: ShapeEnvironment | undefined;
  /** Empty where the record has it already, or there are no packages. */
  readonly note: string;
}

export interface EnvironmentsDeps extends EnvironmentRoomDeps {
  readonly kit: BuildKit | null;
  readonly journals: ReadonlyMap<string, JournalHub>;
  readonly record: EnvironmentRecord;
  readonly scheduler: { wake(): void; isPaused(): boolean };
  /** The environment of a held back task is there. */
  readonly ready: (task: Task) => void;
  readonly clock: () => Date;
  readonly newId: NewId;
}

/**
 * Sees to it that a queued task's environment is there before the task is started. One build serves all that ask for the same; it
 * holds resources of its own, and ends when nobody waits for it any more.
 */
export class Environments {
  readonly #deps: EnvironmentsDeps;
  readonly #builder: BuildEnvironment | undefined;
  readonly #wanted = new Map<string, Wanted>();
  readonly #builds = new Map<string, Build>();
  readonly #failures: FailedBuilds;
  readonly #room: EnvironmentRoom;
  readonly #work = new Set<Promise<void>>();
  readonly #closing = new AbortController();

  constructor(deps: EnvironmentsDeps) {
    this.#deps = deps;
    this.#failures = new FailedBuilds(deps.clock);
    this.#room = new EnvironmentRoom(deps, (id) => this.#isUsed(id));
    const { kit, store, journals, log, newId } = deps;
    this.#builder = kit === null ? undefined : new BuildEnvironment({ kit, store, journals, log, newId });
  }

  /** Tasks that are held back. */
  get waitingCount(): number {
    let count = 0;
    for (const { ready } of this.#wanted.values()) if (!ready) count++;
    return count;
  }

  /** It is held back. */
  has(taskId: string): boolean {
    return this.#wanted.get(taskId)?.ready === false;
  }

  /**
   * Holds a task back until its environment is there, and keeps that until the task is finished; false where there is nothing to
   * wait for.
   */
  holdBack(task: Task): boolean {
    if (task.environment === null || task.environment.requirements === "") return false;
    const { hosts, clock } = this.#deps;
    const { requirements } = parseRequirements(task.environment.requirements, { urls: true });
    if (requirements.length === 0) return false;
    const host = hosts.get(task.spec.engine);
    const wanted: Wanted = {
      ...{ task, host, requirements, since: clock() },
      ...{ id: "", build: undefined, ready: false, built: false },
    };
    this.#leave(task.id);
    this.#wanted.set(task.id, wanted);
    this.#track(this.#find(wanted), "an environment could not be looked for", task);
    return true;
  }

  /** An attempt from before a restart has this environment mounted. */
  adopt(task: Task, attempt: Attempt): void {
    if (attempt.environmentId === "" || this.#wanted.has(task.id)) return;
    this.#wanted.set(task.id, {
      ...{ task, host: this.#deps.hosts.get(attempt.engine), requirements: [], since: this.#deps.clock() },
      ...{ id: attempt.environmentId, build: undefined, ready: true, built: true },
    });
  }

  /** Undefined when it is not held back. */
  waitOf(taskId: string): Wait | undefined {
    const wanted = this.#wanted.get(taskId);
    if (wanted === undefined || wanted.ready) return undefined;
    return {
      ...{ kind: "ENVIRONMENT", limit: null, needed: 0, available: 0, position: 0, blockingTaskIds: [] },
      since: wanted.since,
      message: this.#describe(wanted),
    };
  }

  /** What the build says or said, for those who watch the task. */
  outputOf(taskId: string): BuildOutput | undefined {
    return this.#wanted.get(taskId)?.build?.output;
  }

  /** Hash of the environment that a task would be given in this image now; empty for none. */
  idFor(task: Task, imageDigest: string): string {
    if (task.environment === null || task.environment.requirements === "") return "";
    const { requirements } = parseRequirements(task.environment.requirements, { urls: true });
    return requirements.length === 0 ? "" : this.#idOf({ task, requirements }, imageDigest);
  }

  /** Undefined when it is not there for this image (any more): the task has to be queued again. */
  take(task: Task, imageDigest: string): TakenEnvironment | undefined {
    if (task.environment === null) return { environment: undefined, note: "" };
    const { preload } = task.environment;
    const wanted = this.#wanted.get(task.id);
    // Without a word of where its packages are it must not run without them.
    if (wanted === undefined && task.environment.requirements !== "") return undefined;
    if (wanted === undefined)
      return { environment: preload.length === 0 ? undefined : { id: "", folder: null, preload }, note: "" };
    const { store, clock, log } = this.#deps;
    const id = this.#idOf(wanted, imageDigest);
    if (id !== wanted.id || !store.has(id)) return undefined;
    store
      .touch(id, clock())
      .catch((error: unknown) =>
        log.warn("the use of an environment was not noted", { environment: id, error: String(error) }),
      );
    const note = wanted.built ? "" : `cached: ${summarise(wanted.requirements)}`;
    return { environment: { id, folder: store.folder(id), preload }, note };
  }

  /** A task has ended and waits no more. */
  release(taskId: string): void {
    this.#leave(taskId);
    const wanted = this.#wanted.get(taskId);
    if (wanted !== undefined && !wanted.ready) this.#wanted.delete(taskId);
  }

  /** After each commit: whoever is finished uses it no more. */
  noteChange(task: Task): void {
    if (!isFinished(task)) return;
    this.#leave(task.id);
    this.#wanted.delete(task.id);
  }

  /** Builds go before tasks: others wait for each of them. */
  startWhatFits(): void {
    if (this.#deps.scheduler.isPaused() || this.#closing.signal.aborted) return;
    for (const build of this.#builds.values()) {
      if (build.started) continue;
      const { ledger } = build.host;
      if (!("resources" in ledger.tryHold(holdName(build), this.#limits(build.host)))) continue;
      build.started = true;
      this.#track(this.#run(build), "an environment was not built");
    }
  }

  /** Sandboxes that belong to builds under way. */
  get sandboxIds(): string[] {
    return [...this.#builds.values()].flatMap(({ sandboxId }) => (sandboxId === "" ? [] : [sandboxId]));
  }

  /** Makes room where the configured size is exceeded. */
  async makeRoom(): Promise<void> {
    await this.#room.make();
  }

  /** Ends builds; the next server begins them anew. */
  async close(): Promise<void> {
    this.#closing.abort();
    for (const build of this.#builds.values()) build.abort.abort();
    await Promise.allSettled(this.#work);
  }

  async #find(wanted: Wanted): Promise<void> {
    const { log } = this.#deps;
    let digest: string;
    try {
      const { engine } = wanted.host;
      const resolve = () => engine.resolveImage(wanted.task.image);
      const tell = (error: Unavailable) =>
        log.debug("an environment waits for its engine", { error: error.message });
      digest = (await untilAvailable(resolve, this.#closing.signal, tell)).digest;
    } catch (error) {
      if (this.#closing.signal.aborted) return;
      // The start meets the same, and ends the task with it.
      log.debug("no image for an environment", { ...factsOf(wanted.task), error: String(error) });
      return this.#makeReady(wanted);
    }
    const id = this.#idOf(wanted, digest);
    wanted.id = id;
    await this.#room.settled(id);
    if (this.#wanted.get(wanted.task.id) !== wanted) return;
    if (this.#deps.store.has(id)) return this.#makeReady(wanted);
    const failed = this.#failures.find(id);
    if (failed !== undefined) return await this.#fail(wanted, failed);
    if (this.#builder === undefined) {
      const why = {
        message: "its environment is gone, and this server builds none any more",
        advice: "ask its operator for uv",
      };
      return await this.#deps.record.fail(wanted.task, { ...why, passing: false }, "", this.#closing.signal);
    }
    await this.#join(wanted, digest);
  }

  async #join(wanted: Wanted, imageDigest: string): Promise<void> {
    const { id, host, requirements } = wanted;
    let build = this.#builds.get(id);
    if (build === undefined) {
      build = {
        ...{ id, host, imageDigest, lines: normalRequirements(requirements) },
        ...{ waiting: new Set<Wanted>(), output: new BuildOutput(), abort: new AbortController() },
        ...{ sandboxId: "", started: false },
      };
      this.#builds.set(id, build);
    }
    build.waiting.add(wanted);
    wanted.build = build;
    this.startWhatFits();
    this.#deps.scheduler.wake();
    await this.#deps.record.begin(wanted.task, summarise(requirements), this.#closing.signal);
  }

  async #run(build: Build): Promise<void> {
    const { log, clock, store } = this.#deps;
    const begun = clock().getTime();
    const facts = { environment: build.id, packages: build.lines.length };
    log.info("building an environment", facts);
    let failed: FailedBuild | undefined;
    try {
      failed = await this.#attempts(build);
    } catch (error) {
      if (build.abort.signal.aborted) return;
      log.error("a build failed by a fault of the server", { ...facts, error: String(error) });
      const message = "the environment could not be built by a fault of the server, noted in its log";
      failed = { why: { message, advice: "rerun the task", passing: true }, output: build.output.text() };
    } finally {
      this.#builds.delete(build.id);
      build.host.ledger.giveBack(holdName(build));
      this.#deps.scheduler.wake();
    }
    const seconds = ((clock().getTime() - begun) / 1000).toFixed(1);
    log.info(failed === undefined ? "environment built" : "environment not built", { ...facts, seconds });
    if (failed !== undefined) this.#failures.remember(build.id, failed);
    await Promise.all([...build.waiting].map((wanted) => this.#tell(wanted, failed, seconds)));
    if (failed === undefined && store.has(build.id)) await this.makeRoom();
  }

  async #attempts(build: Build): Promise<FailedBuild | undefined> {
    const { log, newId } = this.#deps;
    const builder = this.#builder;
    if (builder === undefined) throw new NotFound("program", "uv");
    const { signal } = build.abort;
    const tellOutput = () => {
      for (const { task } of build.waiting) this.#deps.record.tell(task.id);
    };
    for (let tries = 1; ; tries++) {
      const failed = await untilAvailable(
        () => {
          build.sandboxId = newId();
          const { id, sandboxId, host, imageDigest, lines } = build;
          const order = { id, sandboxId, host, imageDigest, lines, limits: this.#limits(host) };
          return builder.build(order, build.output, tellOutput, signal);
        },
        signal,
        (error) => log.warn("a build waits", { environment: build.id, error: error.message }),
      );
      const vanished = failed?.why?.passing === true;
      if (!vanished || tries === MOST_TRIES) return failed;
    }
  }

  async #tell(wanted: Wanted, failed: FailedBuild | undefined, seconds: string): Promise<void> {
    const { record } = this.#deps;
    const { signal } = this.#closing;
    if (failed !== undefined) return await this.#fail(wanted, failed);
    await record.end(wanted.task, `built in ${seconds} s: ${summarise(wanted.requirements)}`, signal);
    wanted.built = true;
    this.#makeReady(wanted);
  }

  async #fail({ task, requirements }: Wanted, failed: FailedBuild): Promise<void> {
    const why = explain(failed, requirements, task.environment?.source ?? "requirements");
    await this.#deps.record.fail(task, why, failed.output, this.#closing.signal);
  }

  #makeReady(wanted: Wanted): void {
    if (this.#wanted.get(wanted.task.id) !== wanted || wanted.ready) return;
    wanted.ready = true;
    // As it stands now: the record tells of the build meanwhile.
    const present = this.#deps.record.present(wanted.task.id);
    if (present?.state === "QUEUED") this.#deps.ready(present);
  }

  #leave(taskId: string): void {
    const wanted = this.#wanted.get(taskId);
    const build = wanted?.build;
    if (wanted === undefined || build === undefined) return;
    build.waiting.delete(wanted);
    if (build.waiting.size > 0 || this.#builds.get(build.id) !== build) return;
    build.abort.abort();
    // One that holds nothing yet has nobody else to take it away.
    if (!build.started) this.#builds.delete(build.id);
  }

  #isUsed(id: string): boolean {
    return this.#builds.has(id) || [...this.#wanted.values()].some((wanted) => wanted.id === id);
  }

  #idOf({ task, requirements }: Pick<Wanted, "task" | "requirements">, imageDigest: string): string {
    const identity = this.#deps.kit?.identity ?? "";
    return createHash("sha256")
      .update(JSON.stringify([identity, imageDigest, task.tenant, normalRequirements(requirements)]))
      .digest("hex");
  }

  /** A small host builds with what it has. */
  #limits({ ledger }: EngineHost): TaskLimits {
    const limits = this.#deps.kit?.limits;
    if (limits === undefined) throw new NotFound("program", "uv");
    const { largest } = ledger;
    return {
      ...limits,
      cpuMillis: Math.min(limits.cpuMillis, largest.cpuMillis),
      ramBytes: Math.min(limits.ramBytes, largest.ramBytes),
      storageBytes: Math.min(limits.storageBytes, largest.storageBytes),
    };
  }

  #describe({ build, host, requirements }: Wanted): string {
    if (build === undefined) return "its environment is looked for";
    if (build.started) return `its environment is being built: ${summarise(requirements)}`;
    const { cpuMillis, ramBytes } = this.#limits(host);
    return `waiting for ${cpuMillis / 1000} CPU and ${formatSize(ramBytes)} RAM to build its environment`;
  }

  #track(work: Promise<void>, trouble: string, task?: Task): void {
    const tracked = work
      .catch((error: unknown) => {
        if (this.#closing.signal.aborted) return;
        this.#deps.log.error(trouble, { ...(task && factsOf(task)), error: String(error) });
      })
      .finally(() => this.#work.delete(tracked));
    this.#work.add(tracked);
  }
}

function holdName({ id }: Build): string {
  return `environment ${id}`;
}
