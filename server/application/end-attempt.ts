import {
  BadArchive,
  DigestMismatch,
  ExperimentRefused,
  LongshoreError,
  NotFound,
  SystemFault,
  Unavailable,
} from "../domain/errors.ts";
import type { SandboxFiles } from "../domain/ports/engine.ts";
import {
  type Attempt as AttemptRecord,
  isSystemFault,
  isTerminal,
  type Task,
  type TaskResult,
  type Usage,
} from "../domain/task.ts";
import { closeStages, currentAttempt, type TaskChange } from "../domain/transition.ts";
import { NO_OUTPUT, plain, verdict } from "../domain/verdict.ts";
import type { AttemptDeps } from "./attempt-deps.ts";
import type { AttemptEnd } from "./attempt-end.ts";
import { lastStages, queueStage } from "./attempt-stages.ts";
import { CollectArtifacts } from "./collect-artifacts.ts";
import { newSpanId } from "./identity.ts";
import { factsOf } from "./log-facts.ts";
import { untilAvailable } from "./until-available.ts";

/** Attempts whose spec was never accepted cost the user none of the tries asked for, but not without end. */
const MOST_FREE_ATTEMPTS = 100;
/** A sandbox that does not come up although its engine answers is likelier to be the image's doing than to heal. */
const MOST_FREE_FAULTS = 5;

/** Commits how attempts ended: with a result, or back to the queue for another try. */
export class EndAttempt {
  readonly #deps: AttemptDeps;
  readonly #collect: CollectArtifacts;

  constructor(deps: AttemptDeps) {
    this.#deps = deps;
    this.#collect = new CollectArtifacts(deps);
  }

  /** `seen` is null for an attempt that was cancelled before its spec was sent; `adopted` is true of one from before a restart. */
  async settle(
    attempt: { readonly task: Task; readonly record: AttemptRecord; readonly adopted: boolean },
    files: SandboxFiles,
    seen: AttemptEnd | null,
    signal: AbortSignal,
  ): Promise<Task> {
    const { task, record } = attempt;
    const { book, clock } = this.#deps;
    const present = book.live(task.id) ?? task;
    const artifactsError = await this.#keepArtifacts(present, record, files, seen, signal);
    const time = clock();
    const result = resultOf(present, seen, attempt.adopted, artifactsError);
    const usage = this.#deps.meter.usageOf(result, seen, present, time);
    const runTime = seen?.runTime ?? null;
    return await book.record(
      present.id,
      (now) => {
        if (currentAttempt(now)?.number !== record.number) return undefined;
        const stages = lastStages(now, seen?.stages ?? [], record.number, time, result);
        const again = this.#mayRetry(now, result, seen === null || seen.accepted);
        return this.#change(now, { time, result, usage, runTime }, stages, again);
      },
      signal,
    );
  }

  /**
   * A fault of ours, or of the engine. `sent`: the spec may have reached the runner, so that another try could run the code twice.
   * A task that was still queued and may be tried again stays as it is.
   */
  async fault(task: Task, error: unknown, sent: boolean, signal: AbortSignal): Promise<Task> {
    const { book, clock } = this.#deps;
    const time = clock();
    const result = this.#faultOf(task, error);
    return await book.record(
      task.id,
      (now) => {
        if (isTerminal(now.state)) return undefined;
        const current = currentAttempt(now);
        if (current === undefined && error instanceof Unavailable) return undefined;
        const usage = this.#deps.meter.usageOf(result, null, now, time);
        const stages = closeStages(now, time, result.message);
        const again = current !== undefined && this.#mayRetry(now, result, sent);
        return this.#change(now, { time, result, usage, runTime: null }, stages, again);
      },
      signal,
    );
  }

  /** A full disk must not turn a task that ended well into a failed one: what it left waits in its file. */
  async #keepArtifacts(
    task: Task,
    record: AttemptRecord,
    files: SandboxFiles,
    seen: AttemptEnd | null,
    signal: AbortSignal,
  ): Promise<string> {
    if (seen?.end == null || seen.end.artifactCount === 0) return "";
    return await untilAvailable(
      () => this.#collect.collect(task, record.sandboxId, files),
      signal,
      (error) => this.#deps.log.warn("artifacts wait for room", { ...factsOf(task), error: error.message }),
    );
  }

  #change(
    task: Task,
    end: { time: Date; result: TaskResult; usage: Usage; runTime: Date | null },
    stages: ReturnType<typeof closeStages>,
    again: boolean,
  ): TaskChange {
    const { time } = end;
    if (again) {
      return {
        kind: "retry",
        ...end,
        stages: [...stages, queueStage(task.id, task.attempts.length + 1, time)],
      };
    }
    const retention = task.spec.retentionMillis ?? this.#deps.policy.defaultRetentionMillis;
    return { kind: "end", ...end, expireTime: new Date(time.getTime() + retention), stages };
  }

  #mayRetry(task: Task, result: TaskResult, accepted: boolean): boolean {
    if (!isSystemFault(result.reason) || task.state === "CANCELLING") return false;
    const allowed = Math.max(1, task.spec.maxAttempts);
    if (!accepted && result.reason === "LOST") return task.attempts.length < allowed + MOST_FREE_ATTEMPTS;
    if (!accepted) return task.attempts.filter(neverBegan).length < MOST_FREE_FAULTS;
    const ran = task.attempts.filter(
      (attempt) => attempt.runStartTime !== null || attempt.endTime === null,
    ).length;
    return ran < allowed;
  }

  #faultOf(task: Task, error: unknown): TaskResult {
    const none = { output: NO_OUTPUT, artifactsError: "" };
    // What the project and the inputs say or lack is the user's to mend.
    if (error instanceof NotFound || error instanceof BadArchive || error instanceof DigestMismatch)
      return plain("INPUT_FAILED", none, error.message, "send it again and submit a new task");
    if (error instanceof ExperimentRefused)
      return plain("INPUT_FAILED", none, error.message, "mend that and submit the task again");
    if (error instanceof Unavailable)
      return plain("LOST", none, `the task could not be started: ${error.message}`, "rerun the task");
    const fault = newSpanId();
    this.#deps.log.error("attempt failed", {
      ...factsOf(task),
      fault,
      error: error instanceof Error ? (error.stack ?? error.message) : String(error),
    });
    const told =
      error instanceof LongshoreError && !(error instanceof SystemFault) ? `: ${error.message}` : "";
    return plain(
      "SYSTEM_ERROR",
      none,
      `a fault of the server, noted in its log as ${fault}${told}`,
      "rerun the task; if it happens again, give this id to the operator",
    );
  }
}

function resultOf(task: Task, seen: AttemptEnd | null, adopted: boolean, artifactsError: string): TaskResult {
  const none = { output: NO_OUTPUT, artifactsError: "" };
  const cancelled = task.cancellation !== null;
  if (seen === null) return plain("CANCELLED", none, "cancelled by a client", "");
  if (adopted && !seen.accepted && !cancelled)
    return plain("LOST", none, "the server was restarted before the task began", "rerun the task");
  const { end, exit, kill, damage, log } = seen;
  const { limits } = task;
  return verdict({ end, exit, kill, cancelled, damage, limits, output: log.facts(), artifactsError });
}

function neverBegan({ runStartTime, result }: AttemptRecord): boolean {
  return runStartTime === null && result?.reason === "SYSTEM_ERROR";
}
