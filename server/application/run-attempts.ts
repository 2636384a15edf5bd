import type { Hold } from "../domain/capacity.ts";
import type { RunnerSpec, Sandbox, SandboxShape } from "../domain/ports/engine.ts";
import {
  type Attempt as AttemptRecord,
  isSystemFault,
  isTerminal,
  type Stage,
  type Task,
  type TaskResult,
} from "../domain/task.ts";
import { closeStages, currentAttempt } from "../domain/transition.ts";
import { NO_OUTPUT, plain, verdict } from "../domain/verdict.ts";
import { Attempt, type AttemptEnd } from "./attempt.ts";
import type { AttemptDeps } from "./attempt-deps.ts";
import { lastStages, queueStage, startStages } from "./attempt-stages.ts";
import { usageOf } from "./attempt-usage.ts";
import { CollectArtifacts } from "./collect-artifacts.ts";
import type { EngineHost } from "./engine-host.ts";
import { newSpanId, stageSpanId } from "./identity.ts";
import { RecheckArchive } from "./recheck-archive.ts";

/** An attempt whose code never ran costs the user none of the tries asked for, but not without end. */
const MOST_FREE_ATTEMPTS = 5;

interface Active {
  readonly task: Task;
  readonly host: EngineHost;
  sandboxId: string;
  /** The spec is out: from here on a stop goes to the runner. */
  begun: boolean;
  readonly abortStart: AbortController;
  cancelTimer: NodeJS.Timeout | undefined;
}

/** Takes attempts from their hold on the host to the removal of their sandbox. */
export class RunAttempts {
  readonly #deps: AttemptDeps;
  readonly #collect: CollectArtifacts;
  readonly #projects: RecheckArchive;
  readonly #onGivenBack: (host: EngineHost, task: Task) => void;
  readonly #active = new Map<string, Active>();
  readonly #work = new Set<Promise<void>>();
  readonly #closing = new AbortController();

  /** `onGivenBack` is called once per launch, when the attempt no longer holds its resources. */
  constructor(deps: AttemptDeps, onGivenBack: (host: EngineHost, task: Task) => void) {
    this.#deps = deps;
    this.#collect = new CollectArtifacts(deps);
    this.#projects = new RecheckArchive(deps);
    this.#onGivenBack = onGivenBack;
  }

  get activeCount(): number {
    return this.#active.size;
  }

  /** Starts a new attempt of a queued task. */
  launch(task: Task, host: EngineHost, hold: Hold): void {
    this.#track(task, host, () => this.#start(task, host, hold));
  }

  /** Goes on with an attempt from before a restart. */
  adopt(task: Task, record: AttemptRecord, host: EngineHost, hold: Hold): void {
    this.#track(task, host, async (active) => {
      active.sandboxId = record.sandboxId;
      active.begun = true;
      if (task.cancellation !== null) this.cancel(task.id);
      await this.#finish(active, new Attempt(this.#deps, task, record, host, hold));
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

  /** Stops watching; sandboxes go on and are adopted at the next start. */
  async close(): Promise<void> {
    this.#closing.abort();
    await Promise.allSettled(this.#work);
  }

  #stop(active: Active, how: "terminate" | "kill"): void {
    active.host.engine
      .stop(active.sandboxId, how)
      .catch((error: unknown) =>
        this.#deps.log.error("stop failed", { task: active.task.id, how, error: String(error) }),
      );
  }

  #track(task: Task, host: EngineHost, run: (active: Active) => Promise<void>): void {
    const active: Active = {
      task,
      host,
      sandboxId: "",
      begun: false,
      abortStart: new AbortController(),
      cancelTimer: undefined,
    };
    this.#active.set(task.id, active);
    const work = run(active)
      .catch((error: unknown) => this.#fail(active, error))
      .finally(() => {
        clearTimeout(active.cancelTimer);
        this.#active.delete(task.id);
        this.#work.delete(work);
        if (!this.#closing.signal.aborted) this.#onGivenBack(host, task);
      });
    this.#work.add(work);
  }

  async #start(queued: Task, host: EngineHost, hold: Hold): Promise<void> {
    const active = this.#active.get(queued.id);
    if (active === undefined) throw new Error(`task ${queued.id} is not tracked`);
    const { book, clock, newId } = this.#deps;
    const image = await host.engine.resolveImage(queued.image);
    const shape: SandboxShape = {
      imageDigest: image.digest,
      isolation: queued.isolation,
      network: queued.network,
      limits: queued.limits,
      gpuIds: hold.gpuIds,
    };
    const warm = host.engine.takeWarm(shape);
    const record: AttemptRecord = {
      number: queued.attempts.length + 1,
      engine: host.engine.name,
      sandboxId: warm?.id ?? newId(),
      containerId: warm?.containerId ?? "",
      imageDigest: image.digest,
      isolation: queued.isolation,
      warm: warm !== undefined,
      gpuIds: hold.gpuIds,
      startTime: clock(),
      runStartTime: null,
      endTime: null,
      result: null,
      usage: null,
      released: false,
    };
    active.sandboxId = record.sandboxId;
    // The intent comes before the container, and a warm container's id before its spec: a restart finds either.
    const started = await book.change(queued.id, (task) =>
      task.state === "QUEUED"
        ? { kind: "start", attempt: record, stages: startStages(task, record) }
        : undefined,
    );
    if (started.state !== "PREPARING") {
      if (warm !== undefined) await host.engine.release(warm.id);
      return;
    }
    const attempt = new Attempt(this.#deps, started, record, host, hold);
    const sandbox = warm ?? (await this.#create(active, started, record, shape));
    if (sandbox !== undefined && !active.abortStart.signal.aborted) {
      active.begun = true;
      await host.engine.begin(sandbox, await this.#runnerSpec(started, record));
      // A cancellation that came while the spec was on its way found nobody to stop.
      if (book.live(queued.id)?.cancellation) this.cancel(queued.id);
      await this.#finish(active, attempt);
    } else {
      await this.#settle(active, attempt, null);
    }
  }

  /** Undefined when a cancellation came first. */
  async #create(
    active: Active,
    task: Task,
    record: AttemptRecord,
    shape: SandboxShape,
  ): Promise<Sandbox | undefined> {
    const order = { sandboxId: record.sandboxId, taskId: task.id, attempt: record.number, shape };
    const signal = AbortSignal.any([active.abortStart.signal, this.#closing.signal]);
    try {
      const sandbox = await active.host.engine.create(order, signal);
      await this.#deps.book.change(task.id, () => ({ kind: "sandbox", containerId: sandbox.containerId }));
      return sandbox;
    } catch (error) {
      if (active.abortStart.signal.aborted) return undefined;
      throw error;
    }
  }

  async #runnerSpec(task: Task, record: AttemptRecord): Promise<RunnerSpec> {
    const { spec, limits } = task;
    const run = `00-${task.traceId}-${stageSpanId(task.id, "run", record.number)}-01`;
    return {
      attemptId: `${task.id}.${record.number}`,
      program: task.program,
      code: spec.code === "" ? null : spec.code,
      args: spec.args,
      env: { ...spec.env, ...this.#secretsOf(task), TRACEPARENT: run },
      stdin: spec.stdin,
      workingDirectory: spec.workingDirectory,
      outputs: spec.outputs,
      stopGraceMillis: this.#deps.policy.maxStopGraceMillis,
      deadline: limits.totalMillis === null ? null : new Date(task.createTime.getTime() + limits.totalMillis),
      limits,
      // The blob is what is kept; its canonical tar may have been collected, or come from older rules, and is then made anew.
      projectTar:
        task.archiveSha256 === ""
          ? null
          : await this.#projects.canonicalTar(task.archiveSha256, "RAW", this.#closing.signal),
    };
  }

  #secretsOf({ spec }: Task): Record<string, string> {
    const { secretBox } = this.#deps;
    return Object.fromEntries(Object.entries(spec.secretEnv).map(([name, sealed]) => [name, secretBox.open(name, sealed)]));
  }

  async #finish(active: Active, attempt: Attempt): Promise<void> {
    await this.#settle(active, attempt, await attempt.follow(this.#closing.signal));
  }

  /** Commits how the attempt ended and gives its sandbox back. */
  async #settle(active: Active, attempt: Attempt, seen: AttemptEnd | null): Promise<void> {
    const { book, clock, policy } = this.#deps;
    const { engine } = active.host;
    const present = book.live(attempt.task.id) ?? attempt.task;
    const artifactsError =
      seen?.end != null && seen.end.artifactCount > 0
        ? await this.#collect.collect(present, attempt.record.sandboxId, engine.files)
        : "";
    const time = clock();
    const result =
      seen === null
        ? plain("CANCELLED", { output: NO_OUTPUT, artifactsError: "" }, "cancelled by a client", "")
        : verdict({
            end: seen.end,
            exit: seen.exit,
            kill: seen.kill,
            cancelled: present.cancellation !== null,
            damage: seen.damage,
            limits: present.limits,
            output: seen.log.facts(),
            artifactsError,
          });
    const usage = usageOf(result, seen, present, time);
    const runTime = seen?.runTime ?? null;
    const settled = await book.change(present.id, (task) => {
      const stages = lastStages(task, seen?.stages ?? [], attempt.record.number, time, result);
      if (this.#mayRetry(task, result, seen)) {
        return {
          kind: "retry",
          time,
          result,
          usage,
          runTime,
          stages: [...stages, queueStage(task.id, task.attempts.length + 1, time)],
        };
      }
      const expireTime = new Date(
        time.getTime() + (task.spec.retentionMillis ?? policy.defaultRetentionMillis),
      );
      return { kind: "end", time, result, usage, runTime, expireTime, stages };
    });
    this.#deps.log.info("attempt ended", {
      task: settled.id,
      attempt: attempt.record.number,
      reason: result.reason,
    });
    this.releaseLater(active.host, settled, attempt.record);
  }

  #mayRetry(task: Task, result: TaskResult, seen: AttemptEnd | null): boolean {
    if (!isSystemFault(result.reason) || task.state === "CANCELLING") return false;
    const allowed = Math.max(1, task.spec.maxAttempts);
    const ran = task.attempts.filter(
      (attempt) => attempt.runStartTime !== null || attempt.endTime === null,
    ).length;
    if (seen !== null && !seen.accepted) return task.attempts.length < allowed + MOST_FREE_ATTEMPTS;
    return ran < allowed;
  }

  /** Removes the sandbox off the path of the task's answer; recorded as the cleanup stage. */
  releaseLater(host: EngineHost, task: Task, record: AttemptRecord): void {
    const work = this.#release(host, task, record)
      .catch((error: unknown) =>
        this.#deps.log.error("cleanup failed", { task: task.id, error: String(error) }),
      )
      .finally(() => this.#work.delete(work));
    this.#work.add(work);
  }

  async #release(host: EngineHost, task: Task, record: AttemptRecord): Promise<void> {
    const startTime = this.#deps.clock();
    await host.engine.release(record.sandboxId);
    await host.engine.files.removeArtifacts(record.sandboxId);
    const endTime = this.#deps.clock();
    const stage: Stage = {
      name: "cleanup",
      attempt: record.number,
      startTime,
      endTime,
      note: "",
      spanId: stageSpanId(task.id, "cleanup", record.number),
      error: "",
    };
    await this.#deps.book.change(task.id, () => ({
      kind: "release",
      attempt: record.number,
      stages: [stage],
    }));
  }

  /** A fault of ours, or of the engine, between the stages: the attempt ends as such and may be retried. */
  async #fail(active: Active, error: unknown): Promise<void> {
    if (this.#closing.signal.aborted) return;
    const { book, clock, log, policy } = this.#deps;
    const fault = newSpanId();
    log.error("attempt failed", {
      task: active.task.id,
      fault,
      error: error instanceof Error ? (error.stack ?? error.message) : String(error),
    });
    const time = clock();
    const output = NO_OUTPUT;
    const result = plain(
      "SYSTEM_ERROR",
      { output, artifactsError: "" },
      `a fault of the server, noted in its log as ${fault}`,
      "rerun the task; if it happens again, give this id to the operator",
    );
    const settled = await book.change(active.task.id, (task) => {
      if (isTerminal(task.state)) return undefined;
      const stages = closeStages(task, time, result.message);
      const usage = usageOf(result, null, task, time);
      if (currentAttempt(task) !== undefined && this.#mayRetry(task, result, null)) {
        return {
          kind: "retry",
          time,
          result,
          usage,
          runTime: null,
          stages: [...stages, queueStage(task.id, task.attempts.length + 1, time)],
        };
      }
      const expireTime = new Date(
        time.getTime() + (task.spec.retentionMillis ?? policy.defaultRetentionMillis),
      );
      return { kind: "end", time, result, usage, runTime: null, expireTime, stages };
    });
    const last = settled.attempts.at(-1);
    if (last !== undefined && !last.released) this.releaseLater(active.host, settled, last);
  }
}
