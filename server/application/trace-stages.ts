import type { TaskStore } from "../domain/ports/task-store.ts";
import type { SpanAttributes, SpanEvent, SpanRecord, Telemetry } from "../domain/ports/telemetry.ts";
import { type Attempt, isTerminal, type Stage, type Task } from "../domain/task.ts";
import { SPAN_BUDGET } from "../domain/task-span.ts";

/** Longer than a span waits until it is sent, by a server that is busy and a collector that is slow. */
const UNSENT_MILLIS = 10_000;
/** As many as the exporter takes at once beside those of the tasks that go on. */
const MOST_REPEATED = 200;

/** Makes spans of the record: each stage when it closes, the root when the task ends. Same names, same times. */
export class TraceStages {
  readonly #telemetry: Telemetry;

  constructor(telemetry: Telemetry) {
    this.#telemetry = telemetry;
  }

  /** To be called after each commit; `previous` is undefined for a new task. */
  record(next: Task, previous: Task | undefined): void {
    if (!this.#telemetry.tracing) return;
    const told = new Set(previous === undefined ? [] : finished(previous).map(({ spanId }) => spanId));
    for (const stage of finished(next)) if (!told.has(stage.spanId)) this.#stage(next, stage);
    if (isTerminal(next.state) && !(previous !== undefined && isTerminal(previous.state))) this.#root(next);
  }

  /**
   * Spans wait for a moment before they are sent, and an earlier server may have been killed in that moment: at a start, what
   * its record holds of unfinished tasks and of those that ended last is sent again, under the same ids.
   */
  async repeat(store: TaskStore): Promise<void> {
    if (!this.#telemetry.tracing) return;
    const ended = await store.lastEnded(MOST_REPEATED);
    const least = (ended[0]?.endTime?.getTime() ?? 0) - UNSENT_MILLIS;
    const late = ended.filter(({ endTime }) => endTime !== null && endTime.getTime() >= least);
    const tasks = new Map([...late, ...(await store.unfinished())].map((task) => [task.id, task]));
    for (const task of tasks.values()) this.record(task, undefined);
  }

  /** What to tell the runner: how much the task may say of itself. */
  get spanBudget(): typeof SPAN_BUDGET | null {
    return this.#telemetry.tracing ? SPAN_BUDGET : null;
  }

  /** Spans of the task's own. */
  add(spans: readonly SpanRecord[]): void {
    for (const span of spans) this.#telemetry.record(span);
  }

  #stage(task: Task, stage: ClosedStage): void {
    const attempt = task.attempts.find((candidate) => candidate.number === stage.attempt);
    this.#telemetry.record({
      source: "server",
      traceId: task.traceId,
      spanId: stage.spanId,
      parentSpanId: task.rootSpanId,
      name: stage.name,
      startMicros: microsOf(stage.startTime),
      endMicros: microsOf(stage.endTime),
      error: stage.error,
      events: [],
      attributes: {
        "longshore.task.id": task.id,
        "longshore.attempt": stage.attempt,
        ...(stage.note === "" ? {} : { "longshore.note": stage.note }),
        ...(attempt === undefined ? {} : sandboxOf(attempt)),
        ...(stage.name === "run" && attempt !== undefined ? endingOf(attempt.result) : {}),
      },
    });
  }

  #root(task: Task): void {
    const first = task.stages.reduce(
      (least, stage) => Math.min(least, stage.startTime.getTime()),
      task.createTime.getTime(),
    );
    const { result } = task;
    const last = task.attempts.at(-1);
    this.#telemetry.record({
      source: "server",
      traceId: task.traceId,
      spanId: task.rootSpanId,
      parentSpanId: task.parentSpanId,
      name: "task",
      startMicros: first * 1000,
      endMicros: microsOf(task.endTime ?? task.createTime),
      error: task.state === "SUCCEEDED" ? "" : (result?.message ?? ""),
      events: eventsOf(task),
      attributes: {
        "longshore.task.id": task.id,
        "longshore.tenant": task.tenant,
        "longshore.owner": task.owner,
        "longshore.image": task.image,
        "longshore.state": task.state,
        "longshore.isolation": task.isolation,
        "longshore.network": task.network,
        "longshore.attempts": task.attempts.length,
        ...(last === undefined ? {} : sandboxOf(last)),
        ...requestOf(task),
        ...limitsOf(task),
        ...endingOf(result),
        "longshore.log.bytes": (result?.stdoutBytes ?? 0) + (result?.stderrBytes ?? 0),
        ...(task.archiveSha256 === "" ? {} : { "longshore.archive.sha256": task.archiveSha256 }),
        ...(task.cachedFrom === "" ? {} : { "longshore.cached_from": task.cachedFrom }),
        ...(task.rerunOf === "" ? {} : { "longshore.rerun_of": task.rerunOf }),
      },
    });
  }
}

function microsOf(time: Date): number {
  return time.getTime() * 1000;
}

type ClosedStage = Stage & { readonly endTime: Date };

/** Stages of which nothing will change. How a run ended is known only when its attempt is over, after what it left was collected. */
function finished(task: Task): ClosedStage[] {
  const over = new Set(task.attempts.filter(({ endTime }) => endTime !== null).map(({ number }) => number));
  return task.stages.filter(
    (stage): stage is ClosedStage =>
      stage.endTime !== null && (stage.name !== "run" || over.has(stage.attempt)),
  );
}

function sandboxOf(attempt: Attempt): SpanAttributes {
  return {
    "longshore.engine": attempt.engine,
    "longshore.sandbox.id": attempt.sandboxId,
    "longshore.pool.hit": attempt.warm,
    ...(attempt.imageDigest === "" ? {} : { "longshore.image.digest": attempt.imageDigest }),
  };
}

function endingOf(result: Task["result"]): SpanAttributes {
  if (result === null) return {};
  return {
    "longshore.reason": result.reason,
    ...(result.exitCode === null ? {} : { "longshore.exit_code": result.exitCode }),
    ...(result.signal === null ? {} : { "longshore.signal": result.signal }),
  };
}

/** As asked, in the words of the request; what was left out is not there. */
function requestOf({ spec }: Task): SpanAttributes {
  const { cpu = "", gpu = "", ram = "", storage = "" } = spec.resources ?? {};
  const asked = Object.entries({ cpu, gpu, ram, storage }).filter(([, quantity]) => quantity !== "");
  return {
    ...Object.fromEntries(asked.map(([name, quantity]) => [`longshore.requested.${name}`, quantity])),
    ...(spec.timeoutMillis === null ? {} : { "longshore.requested.timeout_millis": spec.timeoutMillis }),
  };
}

function limitsOf({ limits }: Task): SpanAttributes {
  return {
    "longshore.limits.cpu_millis": limits.cpuMillis,
    "longshore.limits.ram_bytes": limits.ramBytes,
    "longshore.limits.storage_bytes": limits.storageBytes,
    "longshore.limits.gpu_count": limits.gpuCount,
    "longshore.limits.run_millis": limits.runMillis,
  };
}

/** What the stages do not tell: who asked for the end, which limits were reached, why there was another attempt. */
function eventsOf(task: Task): SpanEvent[] {
  const { cancellation, attempts } = task;
  const events: SpanEvent[] = [];
  for (const { number, endTime, result } of attempts) {
    if (endTime === null || result === null) continue;
    const attributes = { "longshore.attempt": number };
    const micros = microsOf(endTime);
    for (const limit of result.limitsHit)
      events.push({
        name: "limit reached",
        micros,
        attributes: { ...attributes, "longshore.limit": limit },
      });
    if (number < attempts.length)
      events.push({
        name: "attempt failed",
        micros,
        attributes: { ...attributes, ...endingOf(result) },
      });
  }
  if (cancellation !== null)
    events.push({ name: "cancel requested", micros: microsOf(cancellation.time), attributes: {} });
  return events.sort((a, b) => a.micros - b.micros);
}
