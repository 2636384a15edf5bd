import type { CounterName, HistogramName, LabelsOf, ObservedName } from "../metrics.ts";

export interface Observation<N extends ObservedName> {
  readonly labels: LabelsOf<N>;
  readonly value: number;
}

/** The figures of domain/metrics.ts, for whoever collects them. Cheap enough for every path; nothing here can fail. */
export interface Metrics {
  /** One more, or `by` more; 0 shows a series before anything has happened. */
  count<N extends CounterName>(name: N, labels: LabelsOf<N>, by?: number): void;
  /** Times are seconds. */
  record<N extends HistogramName>(name: N, labels: LabelsOf<N>, value: number): void;
  /** `read` is called whenever somebody collects, until the returned function is. */
  observe<N extends ObservedName>(name: N, read: () => Iterable<Observation<N>>): () => void;
}
