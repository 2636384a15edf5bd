import { setTimeout as delay } from "node:timers/promises";
import { DamagedJournal, type JournalFrame, type RunnerEnd, type UsageSample } from "../domain/journal.ts";
import type { SandboxExit } from "../domain/ports/engine.ts";
import type { Attempt as AttemptRecord, Stage, StageName, Task } from "../domain/task.ts";
import { allows, findStage, later } from "../domain/transition.ts";
import type { ServerKill } from "../domain/verdict.ts";
import type { AttemptDeps } from "./attempt-deps.ts";
import { type AttemptEnd, BACKSTOP_SLACK_MILLIS } from "./attempt-end.ts";
import { AttemptLog } from "./attempt-log.ts";
import { AttemptSpans } from "./attempt-spans.ts";
import { Latch } from "./changes.ts";
import type { EngineHost } from "./engine-host.ts";
import { stageSpanId } from "./identity.ts";
import { factsOf } from "./log-facts.ts";
import { stopSandbox } from "./stop-sandbox.ts";

/** A runner takes its spec within milliseconds; one that never got it whole would wait for ever. */
const ACCEPT_MILLIS = 60_000;
/** Frame headers and coalescing make a journal a little longer than its payload. */
const JOURNAL_SLACK_BYTES = 64 * 2 ** 20;

/** A short attempt ends within this, and what it told goes into the record together with its end. */
const COMMIT_DELAY_MILLIS = 10;

/** Follows the journal of one attempt, from its first byte to its end, and commits what it tells. */
export class Attempt {
  readonly task: Task;
  readonly record: AttemptRecord;
  readonly host: EngineHost;
  readonly #deps: AttemptDeps;
  readonly #log = new AttemptLog();
  readonly #spans = new AttemptSpans();
  readonly #latch = new Latch();
  #stages: Stage[] = [];
  #exit: SandboxExit | null = null;
  #end: RunnerEnd | null = null;
  #kill: ServerKill | null = null;
  #accepted = false;
  #runTime: Date | null = null;
  #timers: NodeJS.Timeout[] = [];
  #acceptTimer: NodeJS.Timeout | undefined;
  readonly #over = new AbortController();
  #ran = false;
  #collecting = false;
  #committing: Promise<void> | undefined;
  #fault: { readonly error: unknown } | undefined;

  constructor(deps: AttemptDeps, task: Task, record: AttemptRecord, host: EngineHost) {
    this.#deps = deps;
    this.task = task;
    this.record = record;
    this.host = host;
  }

  /** Resolves at the end of the attempt; rejects with the abort reason when the server stops watching. */
  async follow(signal: AbortSignal): Promise<AttemptEnd> {
    const { sandboxId } = this.record;
    const hub = this.#deps.journals.get(this.host.engine.name);
    if (hub === undefined) throw new Error(`engine ${this.host.engine.name} has no journals`);
    const watching = new AbortController();
    const both = AbortSignal.any([signal, watching.signal]);
    const ended = this.host.engine.ended(sandboxId, both).then((exit) => {
      this.#exit = exit;
      this.#latch.set();
    });
    // An abort is how this watch normally ends; it is rethrown below where it was not ours.
    const settled = ended.catch((error: unknown) => (both.aborted ? undefined : Promise.reject(error)));
    let damage = "";
    let time: Date;
    try {
      this.#armDeadlines();
      this.#acceptTimer = setTimeout(() => this.#stop(), ACCEPT_MILLIS);
      using reading = hub.open(sandboxId, 0, this.#latch, { passing: true });
      while (this.#end === null) {
        // Asked before the read: what was written before the sandbox ended is then never missed.
        const final = this.#exit !== null;
        const frames = await reading.poll();
        if (frames !== undefined) this.#take(frames, signal);
        else if (final) break;
        // Not on the one signal of all attempts: its listeners are looked through at each wait.
        else await this.#latch.wait(both);
        signal.throwIfAborted();
        if (this.#fault !== undefined) throw this.#fault.error;
      }
    } catch (error) {
      if (!(error instanceof DamagedJournal)) throw error;
      damage = error.message;
      await stopSandbox(this.host.engine, sandboxId, "kill", {
        task: this.task,
        signal,
        log: this.#deps.log,
      });
    } finally {
      time = new Date(this.#now());
      for (const timer of this.#timers) clearTimeout(timer);
      clearTimeout(this.#acceptTimer);
      this.#over.abort();
      watching.abort();
      await settled;
      await this.#committing;
    }
    return {
      time,
      end: this.#end,
      exit: this.#exit,
      kill: this.#kill,
      damage,
      accepted: this.#accepted,
      runTime: this.#runTime,
      stages: this.#stages,
      log: this.#log,
      spans: this.#spans,
    };
  }

  /** The server's own clock: the runner keeps the deadlines, but with a user's image its word is only a claim. */
  #armDeadlines(): void {
    const { limits, createTime } = this.task;
    const spent = this.record.runStartTime === null ? 0 : this.#now() - this.record.runStartTime.getTime();
    const slack = BACKSTOP_SLACK_MILLIS + this.#deps.policy.maxCollectMillis;
    this.#killAfter(limits.runMillis - spent + this.#deps.policy.maxStageInMillis + slack, "deadline");
    if (limits.totalMillis !== null) {
      this.#killAfter(createTime.getTime() + limits.totalMillis - this.#now() + slack, "total_deadline");
    }
  }

  #killAfter(millis: number, kill: ServerKill): void {
    // Longer ones overflow the timer and would fire at once.
    const timer = setTimeout(() => this.#killNow(kill), Math.min(Math.max(0, millis), 2 ** 31 - 1));
    this.#timers.push(timer);
  }

  /** Ends it at once, for a reason of the server's. */
  kill(why: ServerKill): void {
    if (!this.#over.signal.aborted) this.#killNow(why);
  }

  #killNow(kill: ServerKill): void {
    this.#kill ??= kill;
    this.#deps.log.warn("the server ends an attempt", { ...factsOf(this.task), why: kill });
    this.#stop();
  }

  #stop(): void {
    const { signal } = this.#over;
    void stopSandbox(this.host.engine, this.record.sandboxId, "kill", {
      task: this.task,
      signal,
      log: this.#deps.log,
    });
  }

  #take(frames: readonly JournalFrame[], signal: AbortSignal): void {
    for (const frame of frames) {
      this.#log.take(frame);
      if (frame.kind === "span") this.#spans.take(frame.data);
      else if (frame.kind === "accepted") this.#accept(frame.time);
      else if (frame.kind === "stage") {
        this.#mark(frame.stage, frame.event, frame.time, frame.note);
        this.#collecting ||= frame.stage === "collect" && frame.event === "start";
      } else if (frame.kind === "usage") {
        this.#noteUsage(frame.usage, frame.time);
      } else if (frame.kind === "end") {
        this.#end = frame.ending;
        return;
      }
    }
    const last = frames.at(-1);
    if (last !== undefined && last.end > this.task.limits.logBytes + JOURNAL_SLACK_BYTES + this.#log.bytes) {
      this.#killNow("output");
    }
    this.#commitSoon(signal);
  }

  #noteUsage(sample: UsageSample, time: Date): void {
    const chargedMillis =
      this.#runTime === null ? 0 : Math.max(0, this.#clamp(time).getTime() - this.#runTime.getTime());
    const known = { logBytes: this.#log.bytes, chargedMillis };
    this.#deps.usage.note(this.task, this.record.number, sample, known);
  }

  /** In the background: the journal is read on meanwhile. */
  #commitSoon(signal: AbortSignal): void {
    if (this.#committing !== undefined || this.#stages.length === 0) return;
    this.#committing = this.#commitAll(signal)
      .catch((error: unknown) => {
        this.#fault = { error };
        this.#latch.set();
      })
      .finally(() => {
        this.#committing = undefined;
      });
  }

  async #commitAll(signal: AbortSignal): Promise<void> {
    // Cut short by the end, which takes along what is left.
    await delay(COMMIT_DELAY_MILLIS, undefined, { signal: this.#over.signal }).catch(() => undefined);
    while (this.#stages.length > 0 && !this.#over.signal.aborted) await this.#commit(signal);
  }

  #accept(time: Date): void {
    this.#accepted = true;
    clearTimeout(this.#acceptTimer);
    const at = this.#clamp(time);
    const sandbox = this.#present("sandbox");
    if (sandbox !== undefined && sandbox.endTime === null) {
      this.#put({ ...sandbox, endTime: later(at, sandbox.startTime) });
    }
  }

  #mark(name: StageName, event: "start" | "end", time: Date, note: string): void {
    const at = this.#clamp(time);
    const present = this.#present(name);
    if (event === "start") {
      if (name === "run") {
        this.#runTime ??= at;
        this.#ran = true;
      }
      if (present === undefined) {
        const { number } = this.record;
        this.#put({
          name,
          attempt: number,
          startTime: at,
          endTime: null,
          note,
          spanId: stageSpanId(this.task.id, name, number),
          error: "",
        });
      }
    } else if (present !== undefined && present.endTime === null) {
      this.#put({
        ...present,
        endTime: later(at, present.startTime),
        note: note === "" ? present.note : note,
      });
    }
  }

  /** Commits what was seen, unless the record has it: a journal is read again from its start after a restart. */
  async #commit(signal: AbortSignal): Promise<void> {
    const stages = this.#stages;
    const runTime = this.#ran ? this.#runTime : null;
    const collecting = this.#collecting;
    await this.#deps.book.record(
      this.task.id,
      (task) => {
        if (runTime !== null && task.attempts.at(-1)?.runStartTime === null && allows(task.state, "run")) {
          return { kind: "run", time: runTime, stages };
        }
        if (collecting && allows(task.state, "collect")) return { kind: "collect", stages };
        return { kind: "stages", stages };
      },
      signal,
    );
    this.#stages = this.#stages.filter((stage) => !stages.includes(stage));
  }

  #present(name: StageName): Stage | undefined {
    const { number } = this.record;
    const pending = this.#stages.find((stage) => stage.name === name && stage.attempt === number);
    const known = this.#deps.book.live(this.task.id);
    return pending ?? (known === undefined ? undefined : findStage(known, name, number));
  }

  #put(stage: Stage): void {
    this.#stages = [...this.#stages.filter((other) => other.name !== stage.name), stage];
  }

  /** The runner's clock is this host's, but its frames may be forged: never before the attempt, never in the future. */
  #clamp(time: Date): Date {
    const millis = Math.min(Math.max(time.getTime(), this.record.startTime.getTime()), this.#now());
    return new Date(millis);
  }

  #now(): number {
    return this.#deps.clock().getTime();
  }
}
