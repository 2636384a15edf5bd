import { type EffectiveResources, Limit } from "@longshore/proto/longshore/v1/resources.ts";
import {
  Isolation,
  Stage_Name,
  Task_State,
  TaskResult_Reason,
  Termination_Killer,
  Wait_Kind,
  type Artifact as WireArtifact,
  type Attempt as WireAttempt,
  type Stage as WireStage,
  Task as WireTask,
  type TaskResult as WireTaskResult,
  type Termination as WireTermination,
  type Usage as WireUsage,
  type Wait as WireWait,
} from "@longshore/proto/longshore/v1/task.ts";
import { costOf } from "#server/domain/charge.ts";
import type { Resources } from "#server/domain/resources.ts";
import {
  type Artifact,
  type Attempt,
  isTerminal,
  type Stage,
  type Task,
  type TaskResult,
  type Termination,
  type Usage,
  type Wait,
} from "#server/domain/task.ts";
import type { DamagedTask } from "#server/domain/task-record.ts";
import { budgetsToProto, specToProto } from "./spec-to-proto.ts";
import { durationOfMicros, durationOfMillis, int64, moneyToProto } from "./to-wire.ts";

/** How much of a task is sent; basic leaves out code, stdin and the tails of output. */
export type View = "basic" | "full";

const STAGE_NAMES = {
  upload: Stage_Name.UPLOAD,
  validate: Stage_Name.VALIDATE,
  queue: Stage_Name.QUEUE,
  environment: Stage_Name.ENVIRONMENT,
  sandbox: Stage_Name.SANDBOX,
  stage_in: Stage_Name.STAGE_IN,
  run: Stage_Name.RUN,
  collect: Stage_Name.COLLECT,
  cleanup: Stage_Name.CLEANUP,
} as const satisfies Record<Stage["name"], number>;

export function taskToProto(task: Task, view: View, now = new Date()): WireTask {
  const latest = task.attempts.at(-1);
  const cost = costOf(task);
  return {
    id: task.id,
    spec: specToProto(task.spec, view),
    effectiveResources: resourcesToProto(task.limits, latest?.gpuIds),
    state: Task_State[task.state],
    wait: task.wait === null ? undefined : waitToProto(task.wait),
    result: task.result === null ? undefined : resultToProto(task.result, view),
    attempts: task.attempts.map((attempt) => attemptToProto(attempt, view)),
    stages: task.stages.map(stageToProto),
    containerId: latest?.containerId ?? "",
    elapsed: durationOfMillis(elapsedMillis(task, now)),
    usage: usageToProto(totalUsage(task.attempts)),
    cost: cost === null ? undefined : moneyToProto(cost),
    traceId: task.traceId,
    tenant: task.tenant,
    owner: task.owner,
    createTime: task.createTime,
    startTime: task.startTime ?? undefined,
    endTime: task.endTime ?? undefined,
    expireTime: task.expireTime ?? undefined,
    rerunOf: task.rerunOf,
    effectiveBudgets: budgetsToProto(task.limits),
    effectiveTimeout: durationOfMillis(task.limits.runMillis),
    cachedFrom: task.cachedFrom,
    archiveSha256: task.archiveSha256,
    damage: "",
  };
}

export function damagedTaskToProto(task: DamagedTask): WireTask {
  const { id, tenant, owner, damage } = task;
  return WireTask.fromPartial({
    id,
    tenant,
    owner,
    damage,
    state: Task_State[task.state ?? "UNSPECIFIED"],
    createTime: task.createTime ?? undefined,
    endTime: task.endTime ?? undefined,
  });
}

/** Time spent running the user's code; a run without an end goes on until now, or ended with its attempt or the task. */
function elapsedMillis(task: Task, now: Date): number {
  const open = isTerminal(task.state) ? (task.endTime ?? now) : now;
  return task.stages
    .filter((stage) => stage.name === "run")
    .map((stage) => {
      const attempt = task.attempts.find(({ number }) => number === stage.attempt);
      const end = stage.endTime ?? attempt?.endTime ?? open;
      return Math.max(0, end.getTime() - stage.startTime.getTime());
    })
    .reduce((sum, millis) => sum + millis, 0);
}

/** Amounts add up over attempts; a peak is the highest of them. */
function totalUsage(attempts: readonly Attempt[]): Usage | null {
  const usages = attempts.map(({ usage }) => usage).filter((usage) => usage !== null);
  if (usages.length === 0) return null;
  return usages.reduce((a, b) => ({
    cpuMicros: a.cpuMicros + b.cpuMicros,
    peakRamBytes: Math.max(a.peakRamBytes, b.peakRamBytes),
    peakStorageBytes: Math.max(a.peakStorageBytes, b.peakStorageBytes),
    peakProcesses: Math.max(a.peakProcesses, b.peakProcesses),
    logBytes: a.logBytes + b.logBytes,
    chargedMillis: a.chargedMillis + b.chargedMillis,
    charge: null,
  }));
}

export function resourcesToProto(resources: Resources, gpuIds: readonly string[] = []): EffectiveResources {
  return {
    cpuMillis: int64(resources.cpuMillis),
    ramBytes: int64(resources.ramBytes),
    storageBytes: int64(resources.storageBytes),
    gpuCount: resources.gpuCount,
    gpuIds: [...gpuIds],
  };
}

function waitToProto(wait: Wait): WireWait {
  return {
    kind: Wait_Kind[wait.kind],
    limit: Limit[wait.limit ?? "UNSPECIFIED"],
    needed: int64(wait.needed),
    available: int64(wait.available),
    position: wait.position,
    blockingTaskIds: [...wait.blockingTaskIds],
    since: wait.since,
    message: wait.message,
  };
}

function resultToProto(result: TaskResult, view: View): WireTaskResult {
  return {
    reason: TaskResult_Reason[result.reason],
    exitCode: result.exitCode ?? undefined,
    signal: result.signal ?? undefined,
    termination: result.termination === null ? undefined : terminationToProto(result.termination),
    message: result.message,
    advice: result.advice,
    stdoutTail: view === "full" ? result.stdoutTail : "",
    stderrTail: view === "full" ? result.stderrTail : "",
    stdoutBytes: int64(result.stdoutBytes),
    stderrBytes: int64(result.stderrBytes),
    limitsHit: result.limitsHit.map((limit) => Limit[limit]),
    artifactsError: result.artifactsError,
  };
}

function terminationToProto(termination: Termination): WireTermination {
  return {
    limit: Limit[termination.limit ?? "UNSPECIFIED"],
    limitValue: int64(termination.limitValue),
    observedPeak: int64(termination.observedPeak),
    killer: Termination_Killer[termination.killer ?? "UNSPECIFIED"],
    process: termination.process,
  };
}

function attemptToProto(attempt: Attempt, view: View): WireAttempt {
  return {
    number: attempt.number,
    engine: attempt.engine,
    containerId: attempt.containerId,
    imageDigest: attempt.imageDigest,
    environmentId: attempt.environmentId,
    isolation: Isolation[attempt.isolation],
    warm: attempt.warm,
    startTime: attempt.startTime,
    endTime: attempt.endTime ?? undefined,
    result: attempt.result === null ? undefined : resultToProto(attempt.result, view),
    usage: usageToProto(attempt.usage),
    experimentRun: attempt.experimentRun ?? undefined,
  };
}

function stageToProto(stage: Stage): WireStage {
  return {
    name: STAGE_NAMES[stage.name],
    attempt: stage.attempt,
    startTime: stage.startTime,
    endTime: stage.endTime ?? undefined,
    note: stage.note === "" ? stage.error : stage.note,
    spanId: stage.spanId,
  };
}

export function usageToProto(usage: Usage | null): WireUsage | undefined {
  if (usage === null) return undefined;
  return {
    cpuTime: durationOfMicros(usage.cpuMicros),
    peakRamBytes: int64(usage.peakRamBytes),
    peakStorageBytes: int64(usage.peakStorageBytes),
    peakProcesses: usage.peakProcesses,
    logBytes: int64(usage.logBytes),
    chargedTime: durationOfMillis(usage.chargedMillis),
  };
}

export function artifactToProto(artifact: Artifact): WireArtifact {
  return { path: artifact.path, sizeBytes: int64(artifact.sizeBytes), sha256: artifact.sha256 };
}
