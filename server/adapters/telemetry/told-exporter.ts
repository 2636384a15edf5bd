import type { SpanExporter } from "@opentelemetry/sdk-trace";
import type { Log } from "../../domain/ports/telemetry.ts";

type Export = Parameters<SpanExporter["export"]>;

/** Says when a collector stops to take spans and when it takes them again: nothing else shows that a trace will be missing. */
export class ToldExporter implements SpanExporter {
  readonly #inner: SpanExporter;
  readonly #log: Log;
  #failing = false;

  constructor(inner: SpanExporter, log: Log) {
    this.#inner = inner;
    this.#log = log;
  }

  export(spans: Export[0], done: Export[1]): void {
    this.#inner.export(spans, (result) => {
      // The codes of OpenTelemetry's own enum, whose package is none of ours.
      const failed = result.code !== 0;
      if (failed && !this.#failing)
        this.#log.warn("spans cannot be sent; tasks go on without their traces", {
          error: result.error?.message ?? "no reason given",
        });
      if (!failed && this.#failing) this.#log.info("spans are sent again");
      this.#failing = failed;
      done(result);
    });
  }

  shutdown(): Promise<void> {
    return this.#inner.shutdown();
  }

  async forceFlush(): Promise<void> {
    await this.#inner.forceFlush?.();
  }
}
