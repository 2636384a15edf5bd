import type { Limit } from "../domain/limits.ts";
import type { Attempt, Stage, Task, TaskResult } from "../domain/task.ts";
import { closeStages, findStage, later } from "../domain/transition.ts";
import { nameOfLimit } from "./describe-wait.ts";
import { stageSpanId } from "./identity.ts";

/** Queueing happens once before each attempt; before the first it belongs to no attempt. */
export function queueStage(taskId: string, attempt: number, startTime: Date): Stage {
  return {
    name: "queue",
    attempt: attempt === 1 ? 0 : attempt,
    startTime,
    endTime: null,
    note: "",
    spanId: stageSpanId(taskId, "queue", attempt),
    error: "",
  };
}

/** Its packages are made ready before the attempt has a sandbox; as with queueing, before the first it belongs to no attempt. */
export function environmentStage(
  taskId: string,
  attempt: number,
  facts: { readonly startTime: Date; readonly endTime: Date | null; readonly note: string },
): Stage {
  return {
    name: "environment",
    attempt: attempt === 1 ? 0 : attempt,
    ...facts,
    spanId: stageSpanId(taskId, "environment", attempt),
    error: "",
  };
}

/** `environment` is empty where the record tells of the environment already, or there is none. */
export function startStages(
  task: Task,
  record: Attempt,
  notes: { readonly environment: string; readonly waitedFor: Limit | null },
): Stage[] {
  const note = record.warm ? "warm" : "new";
  const sandbox: Stage = {
    name: "sandbox",
    attempt: record.number,
    startTime: record.startTime,
    endTime: null,
    note,
    spanId: stageSpanId(task.id, "sandbox", record.number),
    error: "",
  };
  const queue = findStage(task, "queue", record.number === 1 ? 0 : record.number);
  const { number, startTime } = record;
  const environment =
    notes.environment === ""
      ? []
      : [environmentStage(task.id, number, { startTime, endTime: startTime, note: notes.environment })];
  const waited = notes.waitedFor === null ? "" : `waited for ${nameOfLimit(notes.waitedFor)}`;
  return [
    ...(queue === undefined
      ? []
      : [{ ...queue, endTime: later(startTime, queue.startTime), note: queue.note || waited }]),
    ...environment,
    sandbox,
  ];
}

/** The stages seen last, and every one still open closed: an ended attempt has none under way. */
export function lastStages(
  task: Task,
  seen: readonly Stage[],
  attempt: number,
  time: Date,
  result: TaskResult,
): Stage[] {
  const error = result.reason === "EXITED" && result.exitCode === 0 ? "" : result.message;
  const stages = new Map(closeStages(task, time).map((stage) => [`${stage.name} ${stage.attempt}`, stage]));
  for (const stage of seen) {
    stages.set(
      `${stage.name} ${stage.attempt}`,
      stage.endTime === null ? { ...stage, endTime: later(time, stage.startTime) } : stage,
    );
  }
  return [...stages.values()].map((stage) =>
    stage.name === "run" && stage.attempt === attempt ? { ...stage, error } : stage,
  );
}
