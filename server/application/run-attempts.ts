import { setTimeout as delay } from "node:timers/promises";
import type { Hold } from "../domain/capacity.ts";
import { Unavailable } from "../domain/errors.ts";
import type { Limit } from "../domain/limits.ts";
import { NotSent, type RunnerSpec, type Sandbox, type SandboxShape } from "../domain/ports/engine.ts";
import type { Attempt as AttemptRecord, Stage, Task } from "../domain/task.ts";
import { trackingServerOf } from "../domain/tracking.ts";
import { currentAttempt } from "../domain/transition.ts";
import { Attempt } from "./attempt.ts";
import type { AttemptDeps } from "./attempt-deps.ts";
import type { AttemptEnd } from "./attempt-end.ts";
import { AttemptInputs } from "./attempt-inputs.ts";
import { startStages } from "./attempt-stages.ts";
import { EndAttempt } from "./end-attempt.ts";
import type { EngineHost } from "./engine-host.ts";
import { stageSpanId } from "./identity.ts";
import { factsOf } from "./log-facts.ts";
import { RecheckArchive } from "./recheck-archive.ts";
import { stopSandbox } from "./stop-sandbox.ts";
import { taskVariables } from "./task-variables.ts";

/** A teardown takes more of the machine than a short attempt did: whoever waits for its end is told first. */
const TEARDOWN_DELAY_MILLIS = 5;

interface Active {
  readonly task: Task;
  readonly host: EngineHost;
  sandboxId: string;
  /** The spec is out, or may be: from here on a stop goes to the runner. */
  begun: boolean;
  /** It is from before a restart. */
  adopted: boolean;
  readonly abortStart: AbortController;
  /** Aborts when the attempt is over or the server closes. */
  readonly over: AbortController;
  cancelTimer: NodeJS.Timeout | undefined;
  /** Once it is followed. */
  attempt: Attempt | undefined;
}

export interface RunAttemptsEvents {
  /** Once per launch, when the attempt no longer holds its resources. */
  givenBack(host: EngineHost, task: Task): void;
  /** An attempt could not be started because something that every start needs is away. */
  trouble(host: EngineHost, error: Unavailable): void;
}

/** Takes attempts from their hold on the host to the removal of their sandbox. */
export class RunAttempts {
  readonly #deps: AttemptDeps;
  readonly #end: EndAttempt;
  readonly #rechecks: RecheckArchive;
  readonly #inputs: AttemptInputs;
  readonly #events: RunAttemptsEvents;
  readonly #active = new Map<string, Active>();
  readonly #releasing = new Set<string>();
  readonly #work = new Set<Promise<void>>();
  readonly #closing = new AbortController();

  constructor(deps: AttemptDeps, events: RunAttemptsEvents) {
    this.#deps = deps;
    this.#end = new EndAttempt(deps);
    this.#rechecks = new RecheckArchive(deps);
    this.#inputs = new AttemptInputs(deps);
    this.#events = events;
  }

  /** An attempt of this task is under way here. */
  has(taskId: string): boolean {
    return this.#active.has(taskId);
  }

  /** Starts a new attempt of a queued task. */
  launch(task: Task, host: EngineHost, hold: Hold, waitedFor: Limit | null): void {
    this.#track(task, host, (active) => this.#start(active, hold, waitedFor));
  }

  /** Goes on with an attempt from before a restart. */
  adopt(task: Task, record: AttemptRecord, host: EngineHost): void {
    this.#track(task, host, async (active) => {
      active.sandboxId = record.sandboxId;
      active.begun = true;
      active.adopted = true;
      if (task.cancellation !== null) this.cancel(task.id);
      await this.#finish(active, new Attempt(this.#deps, task, record, host));
    });
  }

  /** Passes a cancellation that the record already holds on to the sandbox. */
  cancel(taskId: string): void {
    const active = this.#active.get(taskId);
    if (active === undefined) return;
    if (!active.begun) {
      active.abortStart.abort();
      return;
    }
    const grace =
      this.#deps.book.live(taskId)?.cancellation?.graceMillis ?? this.#deps.policy.defaultStopGraceMillis;
    this.#stop(active, grace > 0 ? "terminate" : "kill");
    active.cancelTimer ??= setTimeout(() => this.#stop(active, "kill"), grace);
  }

  /** Ends a task whose tenant has no money left; does nothing when it is not running. */
  stopUnpaid(taskId: string): void {
    this.#active.get(taskId)?.attempt?.kill("budget");
  }

  /** Stops watching; sandboxes go on and are adopted at the next start. */
  async close(): Promise<void> {
    this.#closing.abort();
    for (const active of this.#active.values()) active.over.abort();
    await Promise.allSettled(this.#work);
  }

  #stop(active: Active, how: "terminate" | "kill"): void {
    const { task, host, sandboxId, over } = active;
    void stopSandbox(host.engine, sandboxId, how, { task, signal: over.signal, log: this.#deps.log });
  }

  #track(task: Task, host: EngineHost, run: (active: Active) => Promise<void>): void {
    const active: Active = {
      task,
      host,
      sandboxId: "",
      begun: false,
      adopted: false,
      abortStart: new AbortController(),
      over: new AbortController(),
      cancelTimer: undefined,
      attempt: undefined,
    };
    this.#active.set(task.id, active);
    const work = run(active)
      .catch((error: unknown) => this.#fail(active, error))
      .catch((error: unknown) => {
        // The record stays as it is, and the next start takes it up.
        if (this.#closing.signal.aborted) return;
        this.#deps.log.error("an attempt was left as it is", { ...factsOf(task), error: String(error) });
      })
      .finally(() => {
        clearTimeout(active.cancelTimer);
        active.over.abort();
        this.#active.delete(task.id);
        this.#deps.usage.forget(task.id);
        this.#work.delete(work);
        if (!this.#closing.signal.aborted) this.#events.givenBack(host, task);
      });
    this.#work.add(work);
  }

  async #start(active: Active, hold: Hold, waitedFor: Limit | null): Promise<void> {
    const { task: queued, host } = active;
    const { book } = this.#deps;
    const signal = this.#closing.signal;
    // Everything that may be missing is looked for before there is anything to clean up.
    const image = await host.engine.resolveImage(queued.image);
    const projectTar = await this.#projectTar(queued);
    const inputs = await this.#inputs.find(queued);
    const taken = this.#deps.environments.take(queued, image.digest);
    // The image's name has come to mean another one since: back to the queue, where the environment is made for that.
    if (taken === undefined) return;
    const { environment } = taken;
    const shape: SandboxShape = {
      imageDigest: image.digest,
      isolation: queued.isolation,
      network: queued.network,
      limits: queued.limits,
      gpuIds: hold.gpuIds,
      ...(queued.network === "TRACKING" && {
        tracker: trackingServerOf(queued.spec, this.#deps.policy),
      }),
      ...(environment !== undefined && { environment }),
    };
    const experimentRun = await this.#deps.experiments.begin(queued, queued.attempts.length + 1, signal);
    const warm = host.engine.takeWarm(shape);
    const record = { ...this.#newRecord(active, shape, hold, warm), experimentRun };
    active.sandboxId = record.sandboxId;
    // The intent comes before the container, and a warm container's id before its spec: a restart finds either.
    const started = await book.record(
      queued.id,
      (task) =>
        task.state === "QUEUED"
          ? {
              kind: "start",
              attempt: record,
              stages: startStages(task, record, { environment: taken.note, waitedFor }),
            }
          : undefined,
      signal,
    );
    if (started.attempts.at(-1)?.sandboxId !== record.sandboxId) {
      await this.#deps.experiments.finish(queued, record, signal);
      if (warm !== undefined) await this.#discard(host, warm.id);
      return;
    }
    const attempt = new Attempt(this.#deps, started, record, host);
    const sandbox = warm ?? (await this.#create(active, started, record, shape));
    const brought = { projectTar, inputTar: this.#inputs.tar(inputs, this.#startSignal(active)) };
    const spec = this.#runnerSpec(started, record, brought);
    if (
      sandbox === undefined ||
      active.abortStart.signal.aborted ||
      !(await this.#begin(active, sandbox, spec))
    ) {
      await this.#settle(active, attempt, null);
      return;
    }
    active.begun = true;
    // A cancellation that came while the spec was on its way found nobody to stop.
    if (book.live(queued.id)?.cancellation) this.cancel(queued.id);
    await this.#finish(active, attempt);
  }

  #newRecord(active: Active, shape: SandboxShape, hold: Hold, warm: Sandbox | undefined): AttemptRecord {
    const { clock, newId } = this.#deps;
    const { task, host } = active;
    return {
      number: task.attempts.length + 1,
      engine: host.engine.name,
      sandboxId: warm?.id ?? newId(),
      containerId: warm?.containerId ?? "",
      imageDigest: shape.imageDigest,
      environmentId: shape.environment?.id ?? "",
      isolation: task.isolation,
      warm: warm !== undefined,
      gpuIds: hold.gpuIds,
      startTime: clock(),
      runStartTime: null,
      endTime: null,
      result: null,
      usage: null,
      experimentRun: null,
      released: false,
    };
  }

  /** Undefined when a cancellation came first. */
  async #create(
    active: Active,
    task: Task,
    record: AttemptRecord,
    shape: SandboxShape,
  ): Promise<Sandbox | undefined> {
    const { account, partition, instanceType } = task.spec;
    const order = {
      sandboxId: record.sandboxId,
      taskId: task.id,
      attempt: record.number,
      shape,
      placement: { account, partition, instanceType, gpuModel: task.spec.resources?.gpuModel ?? "" },
      tenant: task.tenant,
    };
    try {
      const sandbox = await active.host.engine.create(order, this.#startSignal(active));
      await this.#deps.book.record(
        task.id,
        () => ({ kind: "sandbox", containerId: sandbox.containerId }),
        this.#closing.signal,
      );
      return sandbox;
    } catch (error) {
      if (active.abortStart.signal.aborted) return undefined;
      throw error;
    }
  }

  /** Aborts when a cancellation comes before the spec is out. */
  #startSignal({ abortStart }: Active): AbortSignal {
    return AbortSignal.any([abortStart.signal, this.#closing.signal]);
  }

  /**
   * An engine that loses its connection while it passes the spec on cannot know whether the runner has it. So a failure here
   * decides nothing: following the sandbox shows whether it accepted the spec or ended without. False when a cancellation came
   * while inputs were on their way; throws what kept them from coming.
   */
  async #begin(active: Active, sandbox: Sandbox, spec: RunnerSpec): Promise<boolean> {
    try {
      await active.host.engine.begin(sandbox, spec);
    } catch (error) {
      if (error instanceof NotSent) {
        if (active.abortStart.signal.aborted) return false;
        throw error.cause;
      }
      this.#deps.log.warn("a spec may not have reached its sandbox", {
        ...factsOf(active.task),
        sandboxId: sandbox.id,
        error: String(error),
      });
      if (error instanceof Unavailable) this.#events.trouble(active.host, error);
    }
    return true;
  }

  /** Throws NotFound or BadArchive when the project cannot be had any more. */
  async #projectTar(task: Task): Promise<string | null> {
    if (task.archiveSha256 === "") return null;
    return await this.#rechecks.canonicalTar(task.archiveSha256, "RAW", this.#closing.signal);
  }

  #runnerSpec(
    task: Task,
    record: AttemptRecord,
    brought: Pick<RunnerSpec, "projectTar" | "inputTar">,
  ): RunnerSpec {
    const { spec, limits } = task;
    return {
      attemptId: `${task.id}.${record.number}`,
      program: task.program,
      code: spec.code === "" ? null : spec.code,
      args: spec.args,
      env: taskVariables(task, record, this.#secretsOf(task), this.#deps.policy),
      spans: this.#deps.trace.spanBudget,
      stdin: spec.stdin,
      workingDirectory: spec.workingDirectory,
      outputs: spec.outputs,
      stopGraceMillis: this.#deps.policy.maxStopGraceMillis,
      stageInMillis: this.#deps.policy.maxStageInMillis,
      collectMillis: this.#deps.policy.maxCollectMillis,
      deadline: limits.totalMillis === null ? null : new Date(task.createTime.getTime() + limits.totalMillis),
      limits,
      ...brought,
    };
  }

  #secretsOf({ spec }: Task): (readonly [string, string])[] {
    const { secretBox } = this.#deps;
    return Object.entries(spec.secretEnv).map(([name, sealed]) => [name, secretBox.open(name, sealed)]);
  }

  async #finish(active: Active, attempt: Attempt): Promise<void> {
    active.attempt = attempt;
    await this.#settle(active, attempt, await attempt.follow(this.#closing.signal));
  }

  /** Commits how the attempt ended and gives its sandbox back. */
  async #settle(active: Active, attempt: Attempt, seen: AttemptEnd | null): Promise<void> {
    const { task, record } = attempt;
    const { files } = active.host.engine;
    const { adopted } = active;
    // Before the commit: a server that is killed in between tells them again, where the other order would lose them.
    if (seen !== null) this.#tellSpans(task, seen);
    const settled = await this.#end.settle({ task, record, adopted }, files, seen, this.#closing.signal);
    this.#deps.log.info("attempt ended", {
      ...factsOf(task),
      attempt: record.number,
      reason: settled.attempts.at(-1)?.result?.reason,
    });
    this.releaseLater(active.host, settled, record);
  }

  #tellSpans(task: Task, { spans, stages }: AttemptEnd): void {
    const { book, trace, clock } = this.#deps;
    if (trace.spanBudget === null) return;
    const present = book.live(task.id) ?? task;
    const attempt = currentAttempt(present)?.number;
    const run = [...stages, ...present.stages].find((s) => s.name === "run" && s.attempt === attempt);
    if (run === undefined) return;
    const secrets = this.#secretsOf(present).map(([, value]) => value);
    trace.add(spans.records(present, run, run.endTime ?? clock(), secrets));
  }

  /** Removes the sandbox off the path of the task's answer; recorded as the cleanup stage. At most one at a time per sandbox. */
  releaseLater(host: EngineHost, task: Task, record: AttemptRecord): void {
    if (this.#releasing.has(record.sandboxId)) return;
    this.#releasing.add(record.sandboxId);
    const work = delay(TEARDOWN_DELAY_MILLIS)
      .then(() => this.#release(host, task, record))
      .catch((error: unknown) => {
        // The record says that it is not released: the next pass of the reconciliation tries again.
        if (!this.#closing.signal.aborted)
          this.#deps.log.error("cleanup failed", { ...factsOf(task), error: String(error) });
      })
      .finally(() => {
        this.#releasing.delete(record.sandboxId);
        this.#work.delete(work);
      });
    this.#work.add(work);
  }

  async #release(host: EngineHost, task: Task, record: AttemptRecord): Promise<void> {
    const startTime = this.#deps.clock();
    await host.engine.release(record.sandboxId);
    await host.engine.files.removeArtifacts(record.sandboxId);
    const endTime = this.#deps.clock();
    // Before the record says that nothing is left to do: a restart comes here again.
    const ended = task.attempts.find(({ number }) => number === record.number) ?? record;
    await this.#deps.experiments.finish(task, ended, this.#closing.signal);
    const stage: Stage = {
      name: "cleanup",
      attempt: record.number,
      startTime,
      endTime,
      note: "",
      spanId: stageSpanId(task.id, "cleanup", record.number),
      error: "",
    };
    await this.#deps.book.record(
      task.id,
      () => ({ kind: "release", attempt: record.number, stages: [stage] }),
      this.#closing.signal,
    );
  }

  /** Nothing came of it, not even a line in the record. */
  async #discard(host: EngineHost, sandboxId: string): Promise<void> {
    await host.engine.release(sandboxId);
    await host.engine.files.remove(sandboxId);
  }

  /** A fault of ours, or of the engine, between the stages: the attempt ends as such and may be retried. */
  async #fail(active: Active, error: unknown): Promise<void> {
    if (this.#closing.signal.aborted) return;
    const { task, host, begun } = active;
    const settled = await this.#end.fault(task, error, begun, this.#closing.signal);
    const last = settled.attempts.at(-1);
    if (last?.endTime != null && !last.released) this.releaseLater(host, settled, last);
    // Anything else may lie with this task alone, and must not hold up the others.
    if (!begun && error instanceof Unavailable) this.#events.trouble(host, error);
  }
}
