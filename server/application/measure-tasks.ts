import type { Metrics } from "../domain/ports/metrics.ts";
import { type Attempt, isTerminal, RESULT_REASONS, type ResultReason, type Task } from "../domain/task.ts";

/** Makes figures of the record, from the same commits as spans are made of: what a restart finds again is not counted twice. */
export class MeasureTasks {
  readonly #metrics: Metrics;

  constructor(metrics: Metrics) {
    this.#metrics = metrics;
    // A failure that is the first of its reason must be seen as a rise from 0, which takes a 0 before it.
    for (const reason of RESULT_REASONS) this.#ended("failed", reason, 0);
    this.#metrics.count("longshore.tasks.cached", {}, 0);
    this.#ended("succeeded", "EXITED", 0);
    this.#ended("cancelled", "CANCELLED", 0);
  }

  /** To be called after each commit; `previous` is undefined for a new task. */
  record(next: Task, previous: Task | undefined): void {
    if (previous === undefined) this.#metrics.count("longshore.tasks.created", {});
    const open = new Map(previous?.stages.map(({ spanId, endTime }) => [spanId, endTime === null]));
    for (const { name, spanId, startTime, endTime } of next.stages)
      if (endTime !== null && open.get(spanId) !== false)
        this.#metrics.record("longshore.stage.duration", { stage: name }, seconds(startTime, endTime));
    for (const attempt of next.attempts) {
      const before = previous?.attempts.find(({ number }) => number === attempt.number);
      if (before !== attempt) this.#attempt(attempt, before);
    }
    if (isTerminal(next.state) && !(previous !== undefined && isTerminal(previous.state))) this.#end(next);
  }

  #attempt(attempt: Attempt, before: Attempt | undefined): void {
    const { engine, startTime, runStartTime, endTime } = attempt;
    if (runStartTime !== null && before?.runStartTime == null) {
      const pool = attempt.warm ? "hit" : "miss";
      this.#metrics.record("longshore.start.duration", { engine, pool }, seconds(startTime, runStartTime));
    }
    if (endTime !== null && before?.endTime == null) {
      const reason = nameOf(attempt.result?.reason);
      this.#metrics.count("longshore.attempts.ended", { engine, reason });
      this.#metrics.count("longshore.log.written", {}, attempt.usage?.logBytes ?? 0);
    }
  }

  #end({ state, result, createTime, endTime, cachedFrom }: Task): void {
    if (cachedFrom !== "") this.#metrics.count("longshore.tasks.cached", {});
    this.#ended(state.toLowerCase(), result?.reason, 1);
    if (endTime === null) return;
    const labels = { state: state.toLowerCase() };
    this.#metrics.record("longshore.task.duration", labels, seconds(createTime, endTime));
  }

  #ended(state: string, reason: ResultReason | undefined, by: number): void {
    this.#metrics.count("longshore.tasks.ended", { state, reason: nameOf(reason) }, by);
  }
}

function nameOf(reason: ResultReason | undefined): string {
  return (reason ?? "unknown").toLowerCase();
}

function seconds(from: Date, to: Date): number {
  return Math.max(0, to.getTime() - from.getTime()) / 1000;
}
