import { createHash, randomBytes, randomFillSync } from "node:crypto";
import { monotonicFactory } from "ulid";
import type { Program, StageName, TaskSpec } from "../domain/task.ts";

/** Drawn at once; an id takes 16. */
const RANDOM_BYTES = 1024;

/** Makes ids that sort by time, also within one millisecond. */
export type NewId = () => string;

export function createIds(): NewId {
  return monotonicFactory(randomFractions());
}

/** As the package has them, but it asks the system for each byte of an id by itself. */
function randomFractions(): () => number {
  const bytes = new Uint8Array(RANDOM_BYTES);
  let used = bytes.length;
  return () => {
    if (used === bytes.length) {
      randomFillSync(bytes);
      used = 0;
    }
    return (bytes[used++] ?? 0) / 256;
  };
}

export function newTraceId(): string {
  return randomBytes(16).toString("hex");
}

export function newSpanId(): string {
  return randomBytes(8).toString("hex");
}

/** A stage's span is known before the stage begins and after any restart: the run's goes into the task's TRACEPARENT. */
export function stageSpanId(taskId: string, stage: StageName, attempt: number): string {
  return createHash("sha256").update(`${taskId} ${attempt} ${stage}`).digest("hex").slice(0, 16);
}

/** Digest of what a spec asks for, without the id of the request: equal for a repeat, different for another request. */
export function digestOfSpec(spec: TaskSpec): string {
  const { requestId: _, ...content } = spec;
  return digestOf(content);
}

/** Digest of what is run, whatever it is given: runs of one program are likely to take about as long. */
export function digestOfProgram(spec: TaskSpec, program: Program): string {
  const { code, archiveSha256, workingDirectory } = spec;
  return digestOf({ code, archiveSha256, workingDirectory, program });
}

/** Equal for equal content, in whatever order its fields are. */
export function digestOf(content: object): string {
  return createHash("sha256").update(stableJson(content)).digest("hex");
}

function stableJson(value: unknown): string {
  return JSON.stringify(value, (_key, item: unknown) =>
    item !== null && typeof item === "object" && !Array.isArray(item)
      ? Object.fromEntries(Object.entries(item).sort(([a], [b]) => (a < b ? -1 : 1)))
      : item,
  );
}
