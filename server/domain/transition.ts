import { WrongState } from "./errors.ts";
import {
  type Attempt,
  type Cancellation,
  isSystemFault,
  isTerminal,
  NO_USAGE,
  type OutputPlace,
  type Stage,
  type StageName,
  type Task,
  type TaskResult,
  type TaskState,
  type Usage,
} from "./task.ts";

/** Everything that can happen to a task. `stages` of any change are opened or closed with it, in the same transaction. */
export type TaskChange = { readonly stages?: readonly Stage[] } & (
  | { readonly kind: "start"; readonly attempt: Attempt }
  | { readonly kind: "sandbox"; readonly containerId: string }
  | { readonly kind: "run"; readonly time: Date }
  | { readonly kind: "collect" }
  | { readonly kind: "cancel"; readonly cancellation: Cancellation }
  | {
      readonly kind: "retry";
      readonly time: Date;
      readonly result: TaskResult;
      readonly usage: Usage;
      /** When the user's code began, where that was not recorded before. */
      readonly runTime: Date | null;
    }
  | {
      readonly kind: "end";
      readonly time: Date;
      readonly result: TaskResult;
      readonly usage: Usage | null;
      readonly runTime: Date | null;
      readonly expireTime: Date;
      /** Answered by an earlier task, not run. */
      readonly cached?: { readonly from: string; readonly output: OutputPlace };
    }
  | { readonly kind: "identify"; readonly cacheKey: string }
  | { readonly kind: "stages" }
  | { readonly kind: "release"; readonly attempt: number }
);

type ChangeKind = TaskChange["kind"];

const KEEP = "keep";
const BY_RESULT = "by result";
type Step = TaskState | typeof KEEP | typeof BY_RESULT;

/**
 * The one transition table. An absent cell is a change that the state does not allow. Terminal states take only what is recorded
 * after the end (cleanup, release) and never change.
 */
export const TRANSITIONS: Readonly<Record<TaskState, Readonly<Partial<Record<ChangeKind, Step>>>>> = {
  QUEUED: {
    identify: KEEP,
    start: "PREPARING",
    end: BY_RESULT,
    stages: KEEP,
    release: KEEP,
  },
  PREPARING: {
    sandbox: KEEP,
    run: "RUNNING",
    cancel: "CANCELLING",
    retry: "QUEUED",
    end: BY_RESULT,
    stages: KEEP,
    release: KEEP,
  },
  RUNNING: {
    collect: "COLLECTING",
    cancel: "CANCELLING",
    retry: "QUEUED",
    end: BY_RESULT,
    stages: KEEP,
    release: KEEP,
  },
  COLLECTING: { cancel: "CANCELLING", retry: "QUEUED", end: BY_RESULT, stages: KEEP, release: KEEP },
  CANCELLING: { sandbox: KEEP, run: KEEP, collect: KEEP, end: BY_RESULT, stages: KEEP, release: KEEP },
  SUCCEEDED: { stages: KEEP, release: KEEP },
  FAILED: { stages: KEEP, release: KEEP },
  CANCELLED: { stages: KEEP, release: KEEP },
};

export function allows(state: TaskState, kind: ChangeKind): boolean {
  return TRANSITIONS[state][kind] !== undefined;
}

/** Where a result leads. A cancelled task that ended by itself first keeps its own ending; one that got lost was cancelled. */
function terminalState(from: TaskState, result: TaskResult): TaskState {
  if (result.reason === "CANCELLED") return "CANCELLED";
  if (from === "CANCELLING" && isSystemFault(result.reason)) return "CANCELLED";
  return result.reason === "EXITED" && result.exitCode === 0 ? "SUCCEEDED" : "FAILED";
}

/** The task after a change; the given one stays as it is. Throws WrongState. */
export function apply(task: Task, change: TaskChange): Task {
  const step = TRANSITIONS[task.state][change.kind];
  if (step === undefined) {
    throw new WrongState(
      `task ${task.id} is ${task.state.toLowerCase()}, which does not allow "${change.kind}"`,
      task.state,
    );
  }
  const changed: Task = {
    ...task,
    version: task.version + 1,
    state: nextState(task, change, step),
    stages: change.stages === undefined ? task.stages : mergeStages(task.stages, change.stages),
  };
  return { ...changed, ...fieldsOf(task, change) };
}

function nextState(task: Task, change: TaskChange, step: Step): TaskState {
  if (step === KEEP) return task.state;
  if (step !== BY_RESULT) return step;
  if (change.kind !== "end") throw new TypeError(`"${change.kind}" carries no result`);
  return terminalState(task.state, change.result);
}

function fieldsOf(task: Task, change: TaskChange): Partial<Task> {
  switch (change.kind) {
    case "start":
      return { attempts: [...task.attempts, change.attempt] };
    case "sandbox":
      return { attempts: withLast(task, { containerId: change.containerId }) };
    case "run":
      return {
        startTime: task.startTime ?? change.time,
        attempts: withLast(task, { runStartTime: change.time }),
      };
    case "cancel":
      return { cancellation: task.cancellation ?? change.cancellation };
    case "retry":
      return ended(task, change, change.usage);
    case "end":
      return {
        ...(currentAttempt(task) === undefined ? {} : ended(task, change, change.usage ?? NO_USAGE)),
        result: change.result,
        endTime: change.time,
        expireTime: change.expireTime,
        ...(change.cached === undefined
          ? {}
          : { cachedFrom: change.cached.from, cachedOutput: change.cached.output }),
      };
    case "identify":
      return { cacheKey: change.cacheKey };
    case "release":
      return {
        attempts: task.attempts.map((a) => (a.number === change.attempt ? { ...a, released: true } : a)),
      };
    case "collect":
    case "stages":
      return {};
  }
}

function ended(
  task: Task,
  change: { readonly time: Date; readonly result: TaskResult; readonly runTime: Date | null },
  usage: Usage,
): Partial<Task> {
  const runStartTime = currentAttempt(task)?.runStartTime ?? change.runTime;
  return {
    startTime: task.startTime ?? runStartTime,
    attempts: withLast(task, { runStartTime, endTime: change.time, result: change.result, usage }),
  };
}

/** The attempt under way: the last one, unless it ended (a queued retry has none). */
export function currentAttempt(task: Task): Attempt | undefined {
  const last = task.attempts.at(-1);
  return last === undefined || last.endTime !== null ? undefined : last;
}

function withLast(task: Task, fields: Partial<Attempt>): Attempt[] {
  return task.attempts.map((attempt, index) =>
    index === task.attempts.length - 1 ? { ...attempt, ...fields } : attempt,
  );
}

/** A stage is known by name and attempt; queueing happens once before each attempt. */
function mergeStages(stages: readonly Stage[], changed: readonly Stage[]): Stage[] {
  const merged = [...stages];
  for (const stage of changed) {
    const at = merged.findIndex((s) => s.name === stage.name && s.attempt === stage.attempt);
    if (at === -1) merged.push(stage);
    else merged[at] = stage;
  }
  return merged;
}

export function findStage(task: Task, name: StageName, attempt: number): Stage | undefined {
  return task.stages.find((stage) => stage.name === name && stage.attempt === attempt);
}

/** Closes every open stage; the ones of a terminal task may not stay open. */
export function closeStages(task: Task, time: Date, error = ""): Stage[] {
  return task.stages
    .filter((stage) => stage.endTime === null)
    .map((stage) => ({ ...stage, endTime: later(time, stage.startTime), error }));
}

/** Times come from several clocks of one host; a stage never ends before it began. */
export function later(a: Date, b: Date): Date {
  return a.getTime() >= b.getTime() ? a : b;
}

export function isFinished(task: Task): boolean {
  return isTerminal(task.state) && task.attempts.every((attempt) => attempt.released);
}
