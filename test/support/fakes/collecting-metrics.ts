import type {
  CounterName,
  HistogramName,
  LabelsOf,
  MetricName,
  ObservedName,
} from "#server/domain/metrics.ts";
import type { Metrics, Observation } from "#server/domain/ports/metrics.ts";

export interface Figure {
  readonly name: MetricName;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** Keeps what was counted and measured, and reads what is observed. */
export class CollectingMetrics implements Metrics {
  readonly figures: Figure[] = [];
  readonly #reads = new Map<() => Iterable<Omit<Figure, "name">>, ObservedName>();

  count<N extends CounterName>(name: N, labels: LabelsOf<N>, by = 1): void {
    this.figures.push({ name, labels, value: by });
  }

  record<N extends HistogramName>(name: N, labels: LabelsOf<N>, value: number): void {
    this.figures.push({ name, labels, value });
  }

  observe<N extends ObservedName>(name: N, read: () => Iterable<Observation<N>>): () => void {
    this.#reads.set(read, name);
    return () => void this.#reads.delete(read);
  }

  /** What was counted or measured under this name, but for zeros. */
  of(name: MetricName): Omit<Figure, "name">[] {
    return this.figures
      .filter((figure) => figure.name === name && figure.value !== 0)
      .map(({ labels, value }) => ({ labels, value }));
  }

  /** What a collector would read now. */
  read(name: ObservedName): Omit<Figure, "name">[] {
    return [...this.#reads].flatMap(([read, of]) => (of === name ? [...read()] : []));
  }

  get observed(): ReadonlySet<ObservedName> {
    return new Set(this.#reads.values());
  }
}
