export interface Summary {
  readonly median: number;
  readonly p95: number;
  readonly lowest: number;
  readonly highest: number;
  readonly samples: number;
}

/** The value below which this share of the values lies, by nearest rank. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? Number.NaN)) / 2;
}

export function summarize(values: readonly number[]): Summary {
  return {
    median: median(values),
    p95: quantile(values, 0.95),
    lowest: Math.min(...values),
    highest: Math.max(...values),
    samples: values.length,
  };
}

/** How long a piece of work takes, in milliseconds. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}
