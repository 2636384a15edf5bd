import { GIBIBYTE, type Resources } from "./resources.ts";

/** An amount in billionths of its currency's unit: integers alone, so that sums are exact. */
export interface Money {
  /** ISO 4217, such as "USD". */
  readonly currency: string;
  readonly nanos: bigint;
}

/** GPUs of one model that an attempt held. */
export interface GpuHold {
  readonly model: string;
  readonly count: number;
  /** Price of one for an hour. */
  readonly hourNanos: bigint;
}

/** What an attempt costs, with the prices that it was made of; neither ever changes. */
export interface Charge extends Money {
  readonly cpuHourNanos: bigint;
  /** For 2^30 bytes. */
  readonly ramGbHourNanos: bigint;
  readonly storageGbHourNanos: bigint;
  readonly gpus: readonly GpuHold[];
}

export type UnitPrices = Omit<Charge, "currency" | "nanos">;

export const NANOS_PER_UNIT = 1_000_000_000n;
const MILLIS_PER_HOUR = 3_600_000n;
const MILLIS_PER_CPU = 1000n;
const GB = BigInt(GIBIBYTE);
/** Every term of a charge is brought to this denominator, so that there is one division and one rounding. */
const DENOMINATOR = MILLIS_PER_CPU * GB * MILLIS_PER_HOUR;

/** Requested amounts times the time they were held, rounded once to whole billionths, half up. */
export function amountOf(prices: UnitPrices, resources: Resources, millis: number): bigint {
  const cpu = BigInt(resources.cpuMillis) * prices.cpuHourNanos * GB;
  const ram = BigInt(resources.ramBytes) * prices.ramGbHourNanos * MILLIS_PER_CPU;
  const storage = BigInt(resources.storageBytes) * prices.storageGbHourNanos * MILLIS_PER_CPU;
  const gpus = prices.gpus
    .map(({ count, hourNanos }) => BigInt(count) * hourNanos * GB * MILLIS_PER_CPU)
    .reduce((sum, nanos) => sum + nanos, 0n);
  return (BigInt(millis) * (cpu + ram + storage + gpus) + DENOMINATOR / 2n) / DENOMINATOR;
}

/** Amounts of each currency, by its code. */
export function sumMoney(amounts: Iterable<Money>): Money[] {
  const sums = new Map<string, bigint>();
  for (const { currency, nanos } of amounts) sums.set(currency, (sums.get(currency) ?? 0n) + nanos);
  return [...sums]
    .filter(([currency]) => currency !== "")
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([currency, nanos]) => ({ currency, nanos }));
}

/** What is charged for a task's attempts, and for the one under way. */
export interface Charged {
  readonly attempts: readonly { readonly usage: { readonly charge: Charge | null } | null }[];
  readonly accrued?: Charge;
}

/**
 * What a task has cost so far, the attempt under way included where a reader was told of it; null where nothing has a price. After
 * a change of currency between two attempts it is the latest one's; the ledger has both.
 */
export function costOf(task: Charged): Money | null {
  const charges = task.attempts.flatMap(({ usage }) => (usage?.charge ? [usage.charge] : []));
  if (task.accrued !== undefined) charges.push(task.accrued);
  const currency = charges.findLast((charge) => charge.currency !== "")?.currency;
  return sumMoney(charges).find((sum) => sum.currency === currency) ?? null;
}

/** "1.25" as billionths; undefined when it is no amount of 0 or more with at most nine places. */
export function parseNanos(text: string): bigint | undefined {
  const [, units, places = ""] = /^(\d{1,9})(?:\.(\d{1,9}))?$/.exec(text) ?? [];
  return units === undefined ? undefined : BigInt(units) * NANOS_PER_UNIT + BigInt(places.padEnd(9, "0"));
}

/** "USD 1.25", with two places at least and all that there are. */
export function formatMoney({ currency, nanos }: Money): string {
  const places = String(nanos % NANOS_PER_UNIT)
    .padStart(9, "0")
    .replace(/0{1,7}$/, "");
  return `${currency} ${nanos / NANOS_PER_UNIT}.${places}`;
}
