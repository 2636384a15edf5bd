import type { SpanRecord } from "../domain/ports/telemetry.ts";
import type { Stage, Task } from "../domain/task.ts";
import { parseTaskSpan, SPAN_BUDGET, type TaskSpan } from "../domain/task-span.ts";

const HIDDEN = "[hidden]";
/** Shorter ones are in every other word, and no secrets. Plain variables often hold words that spans need. */
const LEAST_SECRET = 4;
const LEAST_PLAIN = 8;

/**
 * What the programs of one attempt told of themselves, from their journal. They belong to no other trace and lie under no other
 * span than the attempt's `run`, within its time, whatever they claim.
 */
export class AttemptSpans {
  readonly #spans = new Map<string, TaskSpan>();
  #countLeft: number = SPAN_BUDGET.count;
  #bytesLeft: number = SPAN_BUDGET.bytes;

  /** The runner keeps the same budget, but with a user's own image its word is only a claim. */
  take(data: Uint8Array): void {
    this.#countLeft--;
    this.#bytesLeft -= data.length;
    if (this.#countLeft < 0 || this.#bytesLeft < 0) return;
    const span = parseTaskSpan(data);
    if (span !== undefined && !this.#spans.has(span.spanId)) this.#spans.set(span.spanId, span);
  }

  /** Neither the secrets nor the variables that the task was given leave with a span, whatever a program put into it. */
  records(task: Task, run: Stage, endTime: Date, secrets: readonly string[]): SpanRecord[] {
    const taken = new Set([task.rootSpanId, task.parentSpanId, ...task.stages.map(({ spanId }) => spanId)]);
    taken.add(run.spanId);
    for (const spanId of taken) this.#spans.delete(spanId);
    const within = clamp(run.startTime.getTime() * 1000, endTime.getTime() * 1000);
    const plain = Object.values(task.spec.env).filter((value) => value.length >= LEAST_PLAIN);
    const hide = hider([...plain, ...secrets.filter((secret) => secret.length >= LEAST_SECRET)]);
    const parents = this.#parents();
    return [...this.#spans.values()].map((span) => ({
      source: "task",
      traceId: task.traceId,
      spanId: span.spanId,
      parentSpanId: parents.get(span.spanId) ?? run.spanId,
      name: hide(span.name),
      startMicros: within(span.startMicros),
      endMicros: within(span.endMicros),
      error: hide(span.error),
      events: [],
      attributes: {
        ...Object.fromEntries(
          Object.entries(span.attributes).map(([key, value]) => [
            hide(key),
            typeof value === "string" ? hide(value) : value,
          ]),
        ),
        "longshore.task.id": task.id,
        "longshore.attempt": run.attempt,
      },
    }));
  }

  /** Parents that were told too and lead to the run; of a circle, one link is cut. */
  #parents(): Map<string, string> {
    const parents = new Map<string, string>();
    const settled = new Set<string>();
    for (const first of this.#spans.keys()) {
      const path = new Set<string>();
      for (let id = first; !settled.has(id); ) {
        path.add(id);
        const parent = this.#spans.get(id)?.parentSpanId ?? "";
        if (!this.#spans.has(parent) || path.has(parent)) break;
        parents.set(id, parent);
        id = parent;
      }
      for (const id of path) settled.add(id);
    }
    return parents;
  }
}

function clamp(least: number, most: number): (micros: number) => number {
  return (micros) => Math.min(Math.max(micros, least), Math.max(least, most));
}

function hider(values: readonly string[]): (text: string) => string {
  // A longer one may hold a shorter one, which would leave the rest of it to be read.
  const sorted = values.toSorted((a, b) => b.length - a.length);
  return (text) => sorted.reduce((shown, value) => shown.replaceAll(value, HIDDEN), text);
}
