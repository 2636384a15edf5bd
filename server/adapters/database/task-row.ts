import type { Insertable, Selectable } from "kysely";
import { z } from "zod";
import { outcomeOfDamaged, type TaskOutcome } from "../../domain/dependency.ts";
import { SystemFault } from "../../domain/errors.ts";
import {
  type Attempt,
  isTerminal,
  STAGE_NAMES,
  type Stage,
  TASK_STATES,
  type Task,
} from "../../domain/task.ts";
import type { DamagedTask, TaskRecord } from "../../domain/task-record.ts";
import type { Tables } from "./schema.ts";
import * as json from "./task-json.ts";

type TaskRow = Insertable<Tables["task"]>;
type AttemptRow = Insertable<Tables["attempt"]>;
type StageRow = Insertable<Tables["stage"]>;

type SpecColumns = Pick<Selectable<Tables["task_spec"]>, "spec" | "program" | "inputs" | "environment">;

/** A task's own columns together with those of its task_spec, which are null where that row is gone. */
export type StoredTask = Selectable<Tables["task"]> & {
  readonly [Column in keyof SpecColumns]: SpecColumns[Column] | null;
};
export type AttemptColumns = Selectable<Tables["attempt"]>;
export type StageColumns = Selectable<Tables["stage"]>;

/** Named of one row. */
const MOST_DAMAGES = 3;

const millis = (time: Date | null): number | null => time?.getTime() ?? null;
const textOrNull = (value: string): string | null => (value === "" ? null : value);
const jsonOrNull = (value: object | null): string | null => (value === null ? null : JSON.stringify(value));
const flag = (value: boolean): number => (value ? 1 : 0);

function isUnfinished(task: Task): boolean {
  return !isTerminal(task.state) || task.attempts.some((attempt) => !attempt.released);
}

export function toTaskRow(task: Task): TaskRow {
  return {
    id: task.id,
    tenant: task.tenant,
    owner: task.owner,
    version: task.version,
    state: task.state,
    unfinished: flag(isUnfinished(task)),
    result_reason: task.result?.reason ?? null,
    create_time: task.createTime.getTime(),
    start_time: millis(task.startTime),
    end_time: millis(task.endTime),
    expire_time: millis(task.expireTime),
    request_id: textOrNull(task.spec.requestId),
    archive_sha256: textOrNull(task.archiveSha256),
    spec_digest: task.specDigest,
    program_digest: textOrNull(task.programDigest),
    expected_millis: task.expectedMillis,
    isolation: task.isolation,
    network: task.network,
    image: task.image,
    trace_id: task.traceId,
    root_span_id: task.rootSpanId,
    parent_span_id: task.parentSpanId,
    rerun_of: task.rerunOf,
    cache_key: textOrNull(task.cacheKey),
    cached_from: textOrNull(task.cachedFrom),
    output_engine: task.cachedOutput?.engine ?? null,
    output_sandbox_id: task.cachedOutput?.sandboxId ?? null,
    limits: JSON.stringify(task.limits),
    wait: jsonOrNull(task.wait),
    cancellation: jsonOrNull(task.cancellation),
    result: jsonOrNull(task.result),
  };
}

/** The columns that `next` does not share with `previous`; the version is always among them. */
export function changedColumns(next: Task, previous: Task): Partial<TaskRow> {
  const before = new Map<string, unknown>(Object.entries(toTaskRow(previous)));
  const changed = Object.entries(toTaskRow(next)).filter(([column, value]) => before.get(column) !== value);
  return { ...Object.fromEntries(changed), version: next.version };
}

export function toAttemptRow(taskId: string, attempt: Attempt): AttemptRow {
  return {
    task_id: taskId,
    number: attempt.number,
    engine: attempt.engine,
    sandbox_id: attempt.sandboxId,
    container_id: attempt.containerId,
    image_digest: attempt.imageDigest,
    environment_id: attempt.environmentId,
    isolation: attempt.isolation,
    warm: flag(attempt.warm),
    released: flag(attempt.released),
    start_time: attempt.startTime.getTime(),
    run_start_time: millis(attempt.runStartTime),
    end_time: millis(attempt.endTime),
    gpu_ids: JSON.stringify(attempt.gpuIds),
    usage: attempt.usage === null ? null : json.withDigits(attempt.usage),
    result: jsonOrNull(attempt.result),
    experiment_run: jsonOrNull(attempt.experimentRun),
  };
}

export function toStageRow(taskId: string, stage: Stage, position: number): StageRow {
  return {
    task_id: taskId,
    position,
    name: stage.name,
    attempt: stage.attempt,
    start_time: stage.startTime.getTime(),
    end_time: millis(stage.endTime),
    span_id: stage.spanId,
    note: stage.note,
    error: stage.error,
  };
}

/** PostgreSQL's driver hands a bigint out as text. */
export const whole = z.coerce.number().int();

const time = whole.pipe(z.transform((value) => new Date(value)));
const bool = z.union([z.literal(0), z.literal(1)]).pipe(z.transform((value) => value === 1));
const emptyIfNull = z
  .string()
  .nullable()
  .pipe(z.transform((value) => value ?? ""));

/** A text column that holds JSON of the given shape. */
export function jsonText<T>(shape: z.ZodType<T>): z.ZodType<T> {
  const parse = z.string().pipe(
    z.transform((value, context): unknown => {
      try {
        return JSON.parse(value);
      } catch (error) {
        if (!(error instanceof SyntaxError)) throw error;
        // Without what the parser says of it, which repeats the text.
        context.addIssue("is not JSON");
        return z.NEVER;
      }
    }),
  );
  return parse.pipe(shape);
}

const taskColumns = z.object({
  id: z.string(),
  tenant: z.string(),
  owner: z.string(),
  version: whole,
  state: z.enum(TASK_STATES),
  create_time: time,
  start_time: time.nullable(),
  end_time: time.nullable(),
  expire_time: time.nullable(),
  archive_sha256: emptyIfNull,
  spec_digest: z.string(),
  program_digest: emptyIfNull,
  expected_millis: whole.nullable(),
  isolation: json.isolation,
  network: json.network,
  image: z.string(),
  trace_id: z.string(),
  root_span_id: z.string(),
  parent_span_id: z.string(),
  rerun_of: z.string(),
  cache_key: emptyIfNull,
  cached_from: emptyIfNull,
  output_engine: z.string().nullable(),
  output_sandbox_id: z.string().nullable(),
  limits: jsonText(json.limits),
  wait: jsonText(json.wait).nullable(),
  cancellation: jsonText(json.cancellation).nullable(),
  result: jsonText(json.result).nullable(),
  spec: jsonText(json.spec),
  program: jsonText(json.program),
  inputs: jsonText(json.inputs).nullable(),
  environment: jsonText(json.environment).nullable(),
});

const attemptColumns = z.object({
  number: whole,
  engine: z.string(),
  sandbox_id: z.string(),
  container_id: z.string(),
  image_digest: z.string(),
  environment_id: z.string(),
  isolation: json.isolation,
  warm: bool,
  released: bool,
  start_time: time,
  run_start_time: time.nullable(),
  end_time: time.nullable(),
  gpu_ids: jsonText(json.gpuIds),
  usage: jsonText(json.usage).nullable(),
  result: jsonText(json.result).nullable(),
  experiment_run: jsonText(json.experimentRun).nullable(),
});

const stageColumns = z.object({
  name: z.enum(STAGE_NAMES),
  attempt: whole,
  start_time: time,
  end_time: time.nullable(),
  span_id: z.string(),
  note: z.string(),
  error: z.string(),
});

const outcomeColumns = z.object({
  id: z.string(),
  tenant: z.string(),
  state: z.enum(TASK_STATES),
  end_time: time.nullable(),
  result: jsonText(json.result).nullable(),
});

class RowDamaged extends SystemFault {
  /** What cannot be read, in one line. */
  readonly damage: string;

  constructor(name: string, { issues }: z.ZodError) {
    const damage = issues
      .slice(0, MOST_DAMAGES)
      .map(({ path, message }) => `${path.join(".")}: ${message}`)
      .join("; ");
    super(`the database row of ${name} is damaged; restore it from a backup or delete it: ${damage}`);
    this.damage = damage;
  }
}

/** The checked row; a damaged one is a fault of ours that names it. */
export function checked<T>(shape: z.ZodType<T>, row: unknown, name: string): T {
  const outcome = shape.safeParse(row);
  if (outcome.success) return outcome.data;
  throw new RowDamaged(name, outcome.error);
}

export function fromOutcomeRow(row: Pick<Selectable<Tables["task"]>, "id" | "tenant">): TaskOutcome {
  const columns = outcomeColumns.safeParse(row);
  if (!columns.success) return outcomeOfDamaged(row);
  const { id, tenant, state, end_time, result } = columns.data;
  return {
    id,
    tenant,
    state,
    endTime: end_time,
    reason: result?.reason ?? null,
    message: result?.message ?? "",
  };
}

/** The task, or what is left of it where any of its rows is damaged. */
export function fromRows(
  row: StoredTask,
  attempts: readonly AttemptColumns[],
  stages: readonly StageColumns[],
): TaskRecord {
  let part = "";
  try {
    const readAttempts = attempts.map((attempt) => {
      part = `attempt ${attempt.number}, `;
      return fromAttemptRow(attempt);
    });
    const readStages = stages.map((stage) => {
      part = `stage ${stage.position}, `;
      return fromStageRow(stage);
    });
    part = "";
    return fromTaskRow(row, readAttempts, readStages);
  } catch (error) {
    if (!(error instanceof RowDamaged)) throw error;
    return leftOf(row, `${part}${error.damage}`);
  }
}

/** Column by column: each may be the one that is damaged. */
function leftOf(row: StoredTask, damage: string): DamagedTask {
  const { state, create_time, end_time } = taskColumns.shape;
  return {
    id: row.id,
    tenant: row.tenant,
    owner: row.owner,
    state: state.safeParse(row.state).data ?? null,
    createTime: create_time.safeParse(row.create_time).data ?? null,
    endTime: end_time.safeParse(row.end_time).data ?? null,
    damage,
  };
}

function fromAttemptRow(row: AttemptColumns): Attempt {
  const columns = checked(attemptColumns, row, `attempt ${row.number} of task ${row.task_id}`);
  return {
    number: columns.number,
    engine: columns.engine,
    sandboxId: columns.sandbox_id,
    containerId: columns.container_id,
    imageDigest: columns.image_digest,
    environmentId: columns.environment_id,
    isolation: columns.isolation,
    warm: columns.warm,
    gpuIds: columns.gpu_ids,
    startTime: columns.start_time,
    runStartTime: columns.run_start_time,
    endTime: columns.end_time,
    result: columns.result,
    usage: columns.usage,
    experimentRun: columns.experiment_run,
    released: columns.released,
  };
}

function fromStageRow(row: StageColumns): Stage {
  const columns = checked(stageColumns, row, `stage ${row.position} of task ${row.task_id}`);
  return {
    name: columns.name,
    attempt: columns.attempt,
    startTime: columns.start_time,
    endTime: columns.end_time,
    note: columns.note,
    spanId: columns.span_id,
    error: columns.error,
  };
}

function fromTaskRow(row: StoredTask, attempts: readonly Attempt[], stages: readonly Stage[]): Task {
  const columns = checked(taskColumns, row, `task ${row.id}`);
  return {
    id: columns.id,
    tenant: columns.tenant,
    owner: columns.owner,
    version: columns.version,
    state: columns.state,
    spec: columns.spec,
    specDigest: columns.spec_digest,
    programDigest: columns.program_digest,
    expectedMillis: columns.expected_millis,
    limits: columns.limits,
    isolation: columns.isolation,
    network: columns.network,
    image: columns.image,
    program: columns.program,
    environment: columns.environment,
    archiveSha256: columns.archive_sha256,
    inputs: columns.inputs ?? [],
    wait: columns.wait,
    result: columns.result,
    attempts,
    stages,
    cancellation: columns.cancellation,
    traceId: columns.trace_id,
    rootSpanId: columns.root_span_id,
    parentSpanId: columns.parent_span_id,
    createTime: columns.create_time,
    startTime: columns.start_time,
    endTime: columns.end_time,
    expireTime: columns.expire_time,
    rerunOf: columns.rerun_of,
    cacheKey: columns.cache_key,
    cachedFrom: columns.cached_from,
    cachedOutput:
      columns.output_engine === null || columns.output_sandbox_id === null
        ? null
        : { engine: columns.output_engine, sandboxId: columns.output_sandbox_id },
  };
}
