import type { SpanRecord, Telemetry } from "#server/domain/ports/telemetry.ts";

/** Keeps the spans it was given. One and the same span may come again; one that differs under the same id is a fault. */
export class CollectingTelemetry implements Telemetry {
  readonly tracing = true;
  readonly #spans = new Map<string, SpanRecord>();

  get spans(): readonly SpanRecord[] {
    return [...this.#spans.values()];
  }

  named(name: string): SpanRecord[] {
    return this.spans.filter((span) => span.name === name);
  }

  record(span: SpanRecord): void {
    const key = `${span.traceId} ${span.spanId}`;
    const earlier = this.#spans.get(key);
    if (earlier !== undefined && JSON.stringify(earlier) !== JSON.stringify(span))
      throw new Error(`span ${key} was told twice: ${JSON.stringify(earlier)}, then ${JSON.stringify(span)}`);
    this.#spans.set(key, span);
  }

  async close(): Promise<void> {
    // Nothing is open.
  }
}
