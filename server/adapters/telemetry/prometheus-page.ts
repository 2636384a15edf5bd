import { PrometheusSerializer } from "@opentelemetry/exporter-prometheus";
import {
  AggregationTemporality,
  AggregationType,
  DataPointType,
  type MetricData,
  type MetricDescriptor,
  MetricReader,
} from "@opentelemetry/sdk-metrics";
import type { Log } from "../../domain/ports/telemetry.ts";
import { prometheusName } from "./prometheus-name.ts";

/** The present figures as Prometheus reads them, under the names that its own OTLP receiver would give them. */
export class PrometheusPage extends MetricReader {
  readonly #serializer = new PrometheusSerializer("", false, undefined, false, true);

  readonly #log: Log;

  constructor(log: Log) {
    super({
      aggregationSelector: () => ({ type: AggregationType.DEFAULT }),
      aggregationTemporalitySelector: () => AggregationTemporality.CUMULATIVE,
    });
    this.#log = log;
  }

  /** A figure that cannot be read is left out: the others may tell why. */
  async text(): Promise<string> {
    const { resourceMetrics, errors } = await this.collect();
    for (const error of errors) this.#log.error("a figure could not be read", { error: String(error) });
    const scopeMetrics = resourceMetrics.scopeMetrics.map((scope) => ({
      ...scope,
      metrics: scope.metrics.map(renamed),
    }));
    return this.#serializer.serialize({ ...resourceMetrics, scopeMetrics });
  }

  protected async onForceFlush(): Promise<void> {
    // Whoever wants figures asks for them.
  }

  protected async onShutdown(): Promise<void> {
    // Nothing is open.
  }
}

/** The serializer leaves units out of names and writes them as a comment of another format. */
function renamed<M extends MetricData>(metric: M): M {
  const grows = metric.dataPointType === DataPointType.SUM && metric.isMonotonic;
  const { name, unit } = metric.descriptor;
  const descriptor: MetricDescriptor = {
    ...metric.descriptor,
    name: prometheusName(name, unit, grows),
    unit: "",
  };
  return { ...metric, descriptor };
}
