import type { Counter, Histogram, Meter, ObservableResult } from "@opentelemetry/api";
import {
  type CounterName,
  type HistogramName,
  type LabelsOf,
  METRICS,
  type MetricDefinition,
  type ObservedName,
} from "../../domain/metrics.ts";
import type { Metrics, Observation } from "../../domain/ports/metrics.ts";

type Read = () => Iterable<{ readonly labels: Readonly<Record<string, string>>; readonly value: number }>;

/** The catalogue's figures as instruments of one meter. */
export class OtelMetrics implements Metrics {
  readonly #counters = new Map<string, Counter>();
  readonly #histograms = new Map<string, Histogram>();
  readonly #reads = new Map<string, Set<Read>>();

  constructor(meter: Meter) {
    const catalogue: Readonly<Record<string, MetricDefinition>> = METRICS;
    for (const [name, definition] of Object.entries(catalogue)) this.#open(meter, name, definition);
  }

  count<N extends CounterName>(name: N, labels: LabelsOf<N>, by = 1): void {
    this.#counters.get(name)?.add(by, labels);
  }

  record<N extends HistogramName>(name: N, labels: LabelsOf<N>, value: number): void {
    this.#histograms.get(name)?.record(value, labels);
  }

  observe<N extends ObservedName>(name: N, read: () => Iterable<Observation<N>>): () => void {
    const reads = this.#reads.get(name);
    reads?.add(read);
    return () => void reads?.delete(read);
  }

  #open(meter: Meter, name: string, { kind, unit, about, bounds = [] }: MetricDefinition): void {
    const options = { description: about, unit };
    if (kind === "counter") {
      this.#counters.set(name, meter.createCounter(name, options));
    } else if (kind === "histogram") {
      const advice = { explicitBucketBoundaries: [...bounds] };
      this.#histograms.set(name, meter.createHistogram(name, { ...options, advice }));
    } else {
      const reads = new Set<Read>();
      this.#reads.set(name, reads);
      const instrument =
        kind === "gauge"
          ? meter.createObservableGauge(name, options)
          : meter.createObservableCounter(name, options);
      instrument.addCallback((result: ObservableResult) => {
        for (const read of reads) for (const { labels, value } of read()) result.observe(value, labels);
      });
    }
  }
}
