import { OTLPMetricExporter as GrpcExporter } from "@opentelemetry/exporter-metrics-otlp-grpc";
import { OTLPMetricExporter as HttpExporter } from "@opentelemetry/exporter-metrics-otlp-proto";
import {
  MeterProvider,
  type MetricReader,
  PeriodicExportingMetricReader,
  type PushMetricExporter,
} from "@opentelemetry/sdk-metrics";
import { SystemFault } from "../../domain/errors.ts";
import type { Metrics } from "../../domain/ports/metrics.ts";
import type { Log } from "../../domain/ports/telemetry.ts";
import { boundedClose } from "./bounded-close.ts";
import { EventLoopGauges } from "./event-loop-gauges.ts";
import { openMetricsEndpoint } from "./metrics-endpoint.ts";
import { OtelMetrics } from "./otel-metrics.ts";
import { type Environment, EXPORT_MILLIS, isExported, openExporter } from "./otlp-settings.ts";
import { PrometheusPage } from "./prometheus-page.ts";
import { describeResource } from "./resource.ts";

export interface MetricsOptions {
  readonly serviceVersion: string;
  /** The OTEL_* settings. */
  readonly env: Environment;
  /** Where Prometheus asks, "host:port"; port 0 takes a free one. */
  readonly listen?: string;
  readonly log: Log;
}

export interface OpenMetrics extends AsyncDisposable {
  readonly metrics: Metrics;
  /** Where Prometheus asks, the port as it was bound. */
  readonly address: string | undefined;
}

/** Sends figures by OTLP where a collector is configured, serves them where Prometheus is to ask, and counts nothing otherwise. */
export async function openMetrics(options: MetricsOptions): Promise<OpenMetrics> {
  const { env, serviceVersion, listen, log } = options;
  const page = listen === undefined ? undefined : new PrometheusPage(log);
  const readers: MetricReader[] = page === undefined ? [] : [page];
  if (isExported(env, "METRICS")) readers.push(otlpReader(env));
  if (readers.length === 0)
    return { metrics: NO_METRICS, address: undefined, [Symbol.asyncDispose]: async () => undefined };

  await using stack = new AsyncDisposableStack();
  const provider = new MeterProvider({ resource: describeResource(env, serviceVersion), readers });
  const metrics = new OtelMetrics(provider.getMeter("longshore", serviceVersion));
  stack.use(new EventLoopGauges(metrics));
  // Before the gauges are let go of: closing sends everything once more.
  stack.defer(() => boundedClose(() => provider.shutdown()));
  const endpoint =
    page === undefined || listen === undefined
      ? undefined
      : stack.use(await openMetricsEndpoint(listen, () => page.text(), log));
  const opened = stack.move();
  return { metrics, address: endpoint?.address, [Symbol.asyncDispose]: () => opened.disposeAsync() };
}

/** Of an unmeasured server: nobody asks. */
export const NO_METRICS: Metrics = {
  count: () => undefined,
  record: () => undefined,
  observe: () => () => undefined,
};

function otlpReader(env: Environment): MetricReader {
  const exporter = openExporter<PushMetricExporter>(env, "METRICS", {
    grpc: (settings) => new GrpcExporter(settings),
    "http/protobuf": (settings) => new HttpExporter(settings),
  });
  const exportIntervalMillis = millisOf(env, "OTEL_METRIC_EXPORT_INTERVAL", 60_000);
  const exportTimeoutMillis = Math.min(EXPORT_MILLIS, exportIntervalMillis);
  return new PeriodicExportingMetricReader({ exporter, exportIntervalMillis, exportTimeoutMillis });
}

function millisOf(env: Environment, name: string, fallback: number): number {
  const text = env[name]?.trim() ?? "";
  if (text === "") return fallback;
  const millis = Number(text);
  if (!Number.isInteger(millis) || millis < 1)
    throw new SystemFault(`${name} "${text}" is not a number of milliseconds above 0`);
  return millis;
}
