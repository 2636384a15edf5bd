import { ROOT_CONTEXT, SpanStatusCode, TraceFlags, type Tracer, trace } from "@opentelemetry/api";
import { OTLPTraceExporter as GrpcExporter } from "@opentelemetry/exporter-trace-otlp-grpc";
import { OTLPTraceExporter as HttpExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import type { Resource } from "@opentelemetry/resources";
import {
  AlwaysOnSampler,
  BatchSpanProcessor,
  type SpanExporter,
  TracerProvider,
} from "@opentelemetry/sdk-trace";
import type { Log, SpanRecord, Telemetry } from "../../domain/ports/telemetry.ts";
import { boundedClose } from "./bounded-close.ts";
import { type Environment, EXPORT_MILLIS, isExported, openExporter } from "./otlp-settings.ts";
import { describeResource } from "./resource.ts";
import { ToldExporter } from "./told-exporter.ts";

export interface TelemetryOptions {
  readonly serviceVersion: string;
  /** The OTEL_* settings. */
  readonly env: Environment;
  readonly log: Log;
}

const FLUSH_EVERY_MILLIS = 1_000;
/** Spans that wait for a collector, about a kilobyte each; what comes on top is dropped. */
const MOST_QUEUED = 8_192;
const MOST_QUEUED_OF_TASKS = 4_096;

/** Exports spans by OTLP when a collector is configured, and nothing otherwise. */
export function openTelemetry(options: TelemetryOptions): Telemetry {
  const { env, serviceVersion, log } = options;
  if (!isExported(env, "TRACES")) return new NoTelemetry();
  const resource = describeResource(env, serviceVersion);
  return new OtlpTelemetry((name, queued) => {
    const exporter = openExporter<SpanExporter>(env, "TRACES", {
      grpc: (settings) => new GrpcExporter(settings),
      "http/protobuf": (settings) => new HttpExporter(settings),
    });
    return new SpanLane(new ToldExporter(exporter, log), resource, { name, version: serviceVersion }, queued);
  });
}

class NoTelemetry implements Telemetry {
  readonly tracing = false;

  record(): void {
    // Nobody listens.
  }

  async close(): Promise<void> {
    // Nothing is open.
  }
}

class OtlpTelemetry implements Telemetry {
  readonly tracing = true;
  readonly #lanes: Readonly<Record<SpanRecord["source"], SpanLane>>;

  constructor(openLane: (scope: string, queued: number) => SpanLane) {
    this.#lanes = {
      server: openLane("longshore", MOST_QUEUED),
      task: openLane("longshore.task", MOST_QUEUED_OF_TASKS),
    };
  }

  record(span: SpanRecord): void {
    this.#lanes[span.source].record(span);
  }

  async close(): Promise<void> {
    await Promise.all(Object.values(this.#lanes).map((lane) => lane.close()));
  }
}

/** A way out with a queue of its own: what tasks tell of themselves never crowds out what the server has to tell. */
class SpanLane {
  readonly #ids = new ChosenIds();
  readonly #provider: TracerProvider;
  readonly #tracer: Tracer;

  constructor(
    exporter: SpanExporter,
    resource: Resource,
    scope: { name: string; version: string },
    queued: number,
  ) {
    this.#provider = new TracerProvider({
      resource,
      // The ids of a span are already in the record, so leaving some spans out would leave links to nothing.
      sampler: new AlwaysOnSampler(),
      idGenerator: this.#ids,
      spanProcessors: [
        new BatchSpanProcessor({
          exporter,
          scheduledDelayMillis: FLUSH_EVERY_MILLIS,
          exportTimeoutMillis: EXPORT_MILLIS,
          maxQueueSize: queued,
        }),
      ],
    });
    this.#tracer = this.#provider.getTracer(scope.name, scope.version);
  }

  record(span: SpanRecord): void {
    const context =
      span.parentSpanId === ""
        ? ROOT_CONTEXT
        : trace.setSpanContext(ROOT_CONTEXT, {
            traceId: span.traceId,
            spanId: span.parentSpanId,
            traceFlags: TraceFlags.SAMPLED,
          });
    this.#ids.choose(span);
    const started = this.#tracer.startSpan(
      span.name,
      { startTime: hrTime(span.startMicros), attributes: { ...span.attributes } },
      context,
    );
    for (const { name, attributes, micros } of span.events)
      started.addEvent(name, { ...attributes }, hrTime(micros));
    if (span.error !== "") {
      started.recordException(span.error, hrTime(span.endMicros));
      started.setStatus({ code: SpanStatusCode.ERROR, message: span.error });
    }
    const [seconds, nanos] = hrTime(span.endMicros);
    // Jaeger takes a span without any duration for a damaged one, and says so to whoever looks at it.
    started.end(span.endMicros === span.startMicros ? [seconds, nanos + 1] : [seconds, nanos]);
  }

  close(): Promise<void> {
    return boundedClose(() => this.#provider.shutdown());
  }
}

/** Seconds and nanoseconds, as the SDK keeps times. */
function hrTime(micros: number): [number, number] {
  const seconds = Math.floor(micros / 1_000_000);
  return [seconds, (micros - seconds * 1_000_000) * 1_000];
}

/** Hands the SDK the ids that the record already has; a span is started right after its ids are chosen. */
class ChosenIds {
  #next: Pick<SpanRecord, "traceId" | "spanId"> = { traceId: "", spanId: "" };

  choose(ids: Pick<SpanRecord, "traceId" | "spanId">): void {
    this.#next = ids;
  }

  generateTraceId(): string {
    return this.#next.traceId;
  }

  generateSpanId(): string {
    return this.#next.spanId;
  }
}
