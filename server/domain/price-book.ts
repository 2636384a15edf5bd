import type { UnitPrices } from "./charge.ts";

/** Prices of an hour in billionths of the currency. */
export interface Prices {
  readonly cpuHourNanos: bigint;
  readonly ramGbHourNanos: bigint;
  readonly storageGbHourNanos: bigint;
  /** By model; ANY_MODEL is the price of those that are not named. */
  readonly gpuHourNanos: ReadonlyMap<string, bigint>;
}

export const ANY_MODEL = "*";

/** From `from`, inclusive, to `until`, exclusive; null means without a bound. */
export interface PricePeriod {
  readonly from: Date | null;
  readonly until: Date | null;
  readonly prices: Prices;
}

/** What an hour costs and when: periods that do not overlap. Where none holds, nothing is charged. */
export class PriceBook {
  readonly currency: string;
  readonly #periods: readonly PricePeriod[];

  constructor(currency: string, periods: readonly PricePeriod[]) {
    this.currency = currency;
    this.#periods = periods;
  }

  at(time: Date): Prices | undefined {
    return this.#periods.find(
      ({ from, until }) => (from === null || from <= time) && (until === null || time < until),
    )?.prices;
  }
}

export function gpuPrice({ gpuHourNanos }: Prices, model: string): bigint {
  return gpuHourNanos.get(model) ?? gpuHourNanos.get(ANY_MODEL) ?? 0n;
}

/** The prices of what is held; all 0 without any. */
export function unitPrices(
  prices: Prices | undefined,
  gpus: readonly { readonly model: string; readonly count: number }[],
): UnitPrices {
  return {
    cpuHourNanos: prices?.cpuHourNanos ?? 0n,
    ramGbHourNanos: prices?.ramGbHourNanos ?? 0n,
    storageGbHourNanos: prices?.storageGbHourNanos ?? 0n,
    gpus: gpus.map(({ model, count }) => ({
      model,
      count,
      hourNanos: prices === undefined ? 0n : gpuPrice(prices, model),
    })),
  };
}
