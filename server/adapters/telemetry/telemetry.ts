import { setTimeout as delay } from "node:timers/promises";
import { ROOT_CONTEXT, SpanStatusCode, TraceFlags, type Tracer, trace } from "@opentelemetry/api";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-grpc";
import {
  defaultResource,
  detectResources,
  envDetector,
  resourceFromAttributes,
} from "@opentelemetry/resources";
import { AlwaysOnSampler, BatchSpanProcessor, TracerProvider } from "@opentelemetry/sdk-trace";
import { SystemFault } from "../../domain/errors.ts";
import type { SpanRecord, Telemetry } from "../../domain/ports/telemetry.ts";

export interface TelemetryOptions {
  readonly serviceVersion: string;
  /** The OTEL_* settings; what is not read here (headers, certificates), the exporter reads from the process itself. */
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** Longest that one export may take, and so longest that a stop waits for a collector that does not answer. */
const EXPORT_MILLIS = 3_000;
const FLUSH_EVERY_MILLIS = 1_000;

/** Exports spans by OTLP over gRPC when a collector is configured, and nothing otherwise. */
export function openTelemetry(options: TelemetryOptions): Telemetry {
  const { env, serviceVersion } = options;
  if (!isConfigured(env)) return new NoTelemetry();
  return new OtlpTelemetry(createExporter(env), serviceVersion, env.OTEL_SERVICE_NAME || "longshore");
}

function isConfigured(env: TelemetryOptions["env"]): boolean {
  const exporters = (env.OTEL_TRACES_EXPORTER ?? "")
    .split(",")
    .map((name) => name.trim())
    .filter((name) => name !== "");
  const unknown = exporters.filter((name) => name !== "otlp" && name !== "none");
  if (unknown.length > 0) {
    throw new SystemFault(`OTEL_TRACES_EXPORTER names ${unknown.join(", ")}; use otlp or none`);
  }
  if (env.OTEL_SDK_DISABLED?.trim().toLowerCase() === "true" || exporters.includes("none")) return false;
  return exporters.includes("otlp") || endpoint(env) !== undefined;
}

function endpoint(env: TelemetryOptions["env"]): string | undefined {
  return (
    env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT?.trim() || env.OTEL_EXPORTER_OTLP_ENDPOINT?.trim() || undefined
  );
}

function createExporter(env: TelemetryOptions["env"]): OTLPTraceExporter {
  const protocol = env.OTEL_EXPORTER_OTLP_TRACES_PROTOCOL || env.OTEL_EXPORTER_OTLP_PROTOCOL || "grpc";
  if (protocol !== "grpc") {
    throw new SystemFault(
      `the OTLP protocol ${protocol} is not supported; set OTEL_EXPORTER_OTLP_PROTOCOL=grpc and the collector's gRPC port, 4317 as a rule`,
    );
  }
  const url = endpoint(env);
  try {
    return new OTLPTraceExporter({ ...(url === undefined ? {} : { url }), timeoutMillis: EXPORT_MILLIS });
  } catch (error) {
    throw new SystemFault(
      `OTEL_EXPORTER_OTLP_ENDPOINT is not an endpoint such as http://127.0.0.1:4317: ${error}`,
      {},
      { cause: error },
    );
  }
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
  readonly #ids = new ChosenIds();
  readonly #provider: TracerProvider;
  readonly #tracer: Tracer;

  constructor(exporter: OTLPTraceExporter, serviceVersion: string, serviceName: string) {
    this.#provider = new TracerProvider({
      resource: defaultResource()
        .merge(resourceFromAttributes({ "service.version": serviceVersion }))
        .merge(detectResources({ detectors: [envDetector] }))
        .merge(resourceFromAttributes({ "service.name": serviceName })),
      // The ids of a span are already in the record, so leaving some spans out would leave links to nothing.
      sampler: new AlwaysOnSampler(),
      idGenerator: this.#ids,
      spanProcessors: [
        new BatchSpanProcessor({
          exporter,
          scheduledDelayMillis: FLUSH_EVERY_MILLIS,
          exportTimeoutMillis: EXPORT_MILLIS,
        }),
      ],
    });
    this.#tracer = this.#provider.getTracer("longshore", serviceVersion);
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
      { startTime: span.startTime, attributes: { ...span.attributes } },
      context,
    );
    for (const { name, attributes, time } of span.events) started.addEvent(name, { ...attributes }, time);
    if (span.error !== "") {
      started.recordException(span.error, span.endTime);
      started.setStatus({ code: SpanStatusCode.ERROR, message: span.error });
    }
    started.end(span.endTime);
  }

  async close(): Promise<void> {
    const stopWaiting = new AbortController();
    const sent = this.#provider.shutdown().catch(() => {
      // The collector is away. That must not change how the server stops, and nobody is left to hear of it.
    });
    const deadline = delay(EXPORT_MILLIS, undefined, { signal: stopWaiting.signal }).catch(() => {
      // Everything was sent before.
    });
    await Promise.race([sent, deadline]);
    stopWaiting.abort();
  }
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
