import type { Telemetry } from "../domain/ports/telemetry.ts";
import { isTerminal, type Stage, type Task } from "../domain/task.ts";

/** Makes spans of the record: each stage when it closes, the root when the task ends. Same names, same times. */
export class TraceStages {
  readonly #telemetry: Telemetry;

  constructor(telemetry: Telemetry) {
    this.#telemetry = telemetry;
  }

  /** To be called after each commit; `previous` is undefined for a new task. */
  record(next: Task, previous: Task | undefined): void {
    const open = new Set(previous?.stages.filter((stage) => stage.endTime === null) ?? []);
    const known = new Set(previous?.stages.map((stage) => stage.spanId) ?? []);
    for (const stage of next.stages) {
      if (stage.endTime === null) continue;
      const wasOpen = [...open].some((other) => other.spanId === stage.spanId);
      if (wasOpen || !known.has(stage.spanId)) this.#stage(next, stage, stage.endTime);
    }
    if (isTerminal(next.state) && !(previous !== undefined && isTerminal(previous.state))) this.#root(next);
  }

  #stage(task: Task, stage: Stage, endTime: Date): void {
    const attempt = task.attempts.find((candidate) => candidate.number === stage.attempt);
    this.#telemetry.record({
      traceId: task.traceId,
      spanId: stage.spanId,
      parentSpanId: task.rootSpanId,
      name: stage.name,
      startTime: stage.startTime,
      endTime,
      error: stage.error,
      attributes: {
        "longshore.task.id": task.id,
        "longshore.attempt": stage.attempt,
        ...(stage.note === "" ? {} : { "longshore.note": stage.note }),
        ...(attempt === undefined
          ? {}
          : {
              "longshore.engine": attempt.engine,
              "longshore.sandbox.id": attempt.sandboxId,
              "longshore.pool.hit": attempt.warm,
            }),
      },
    });
  }

  #root(task: Task): void {
    const first = task.stages.reduce(
      (least, stage) => Math.min(least, stage.startTime.getTime()),
      task.createTime.getTime(),
    );
    const { result, limits } = task;
    this.#telemetry.record({
      traceId: task.traceId,
      spanId: task.rootSpanId,
      parentSpanId: task.parentSpanId,
      name: "task",
      startTime: new Date(first),
      endTime: task.endTime ?? task.createTime,
      error: task.state === "SUCCEEDED" ? "" : (result?.message ?? ""),
      attributes: {
        "longshore.task.id": task.id,
        "longshore.tenant": task.tenant,
        "longshore.owner": task.owner,
        "longshore.image": task.image,
        "longshore.state": task.state,
        "longshore.reason": result?.reason ?? "",
        "longshore.isolation": task.isolation,
        "longshore.limits.cpu_millis": limits.cpuMillis,
        "longshore.limits.ram_bytes": limits.ramBytes,
        "longshore.limits.storage_bytes": limits.storageBytes,
        "longshore.limits.gpu_count": limits.gpuCount,
        "longshore.log.bytes": (result?.stdoutBytes ?? 0) + (result?.stderrBytes ?? 0),
        ...(task.archiveSha256 === "" ? {} : { "longshore.archive.sha256": task.archiveSha256 }),
        ...(result?.exitCode == null ? {} : { "longshore.exit_code": result.exitCode }),
      },
    });
  }
}
