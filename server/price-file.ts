import { z } from "zod";
import { parseNanos } from "./domain/charge.ts";
import { ANY_MODEL, PriceBook, type PricePeriod } from "./domain/price-book.ts";
import { FileProblems, readJsonFile } from "./json-file.ts";

const WRONG_PRICE = 'is no price such as "0.04": a text with at most nine places after the point';

export const money = z.string(WRONG_PRICE).transform((text, context) => {
  const nanos = parseNanos(text);
  if (nanos !== undefined) return nanos;
  context.addIssue({ code: "custom", message: WRONG_PRICE });
  return z.NEVER;
});

const currency = z
  .string('is missing or no currency such as "USD"')
  .regex(/^[A-Z]{3}$/, 'is no currency such as "USD"');

const WRONG_DAY =
  'is no day such as "2026-01-01" (from 00:00 UTC) and no time such as "2026-01-01T08:00:00Z"';

const day = z
  .string(WRONG_DAY)
  .regex(/^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}:\d{2}(\.\d{1,3})?Z)?$/, WRONG_DAY)
  .transform((text, context) => {
    const time = new Date(text);
    // JavaScript makes March of the 30th of February.
    if (!Number.isNaN(time.getTime()) && time.toISOString().startsWith(text.slice(0, 10))) return time;
    context.addIssue({ code: "custom", message: WRONG_DAY });
    return z.NEVER;
  });

const period = z.strictObject({
  from: day.optional(),
  until: day.optional(),
  cpu_hour: money.default(0n),
  ram_gb_hour: money.default(0n),
  storage_gb_hour: money.default(0n),
  gpu_hour: z
    .record(z.string().min(1).max(200), money)
    .refine(
      (prices) => ANY_MODEL in prices,
      `has no "${ANY_MODEL}", the price of a GPU whose model is not named`,
    )
    .optional(),
});

const priceFile = z.strictObject({
  currency,
  prices: z.array(period).min(1, "is empty"),
});

/** Reads what an hour costs. Throws FileProblems. */
export function readPriceFile(path: string): PriceBook {
  const { currency: code, prices } = readJsonFile(path, priceFile);
  const periods = prices.map(
    (one): PricePeriod => ({
      from: one.from ?? null,
      until: one.until ?? null,
      prices: {
        cpuHourNanos: one.cpu_hour,
        ramGbHourNanos: one.ram_gb_hour,
        storageGbHourNanos: one.storage_gb_hour,
        gpuHourNanos: new Map(Object.entries(one.gpu_hour ?? {})),
      },
    }),
  );
  const problems = periodProblems(periods);
  if (problems.length > 0) throw new FileProblems(problems);
  return new PriceBook(code, inOrder(periods));
}

const begin = ({ from }: PricePeriod) => from?.getTime() ?? Number.NEGATIVE_INFINITY;
const end = ({ until }: PricePeriod) => until?.getTime() ?? Number.POSITIVE_INFINITY;

/** Without an end a period goes on until the next one begins. */
function inOrder(periods: readonly PricePeriod[]): PricePeriod[] {
  const sorted = periods.toSorted((a, b) => begin(a) - begin(b));
  return sorted.map((one, index) => ({ ...one, until: one.until ?? sorted[index + 1]?.from ?? null }));
}

function periodProblems(periods: readonly PricePeriod[]): string[] {
  const problems: string[] = [];
  for (const [index, one] of periods.entries()) {
    if (end(one) <= begin(one)) problems.push(`prices.${index}.until is not after its from`);
    for (const [other, earlier] of periods.slice(0, index).entries()) {
      if (begin(one) === begin(earlier)) {
        problems.push(`prices.${index} begins when prices.${other} does`);
        continue;
      }
      const [first, second] = begin(one) < begin(earlier) ? [one, earlier] : [earlier, one];
      if (first.until !== null && end(first) > begin(second))
        problems.push(`prices.${index} overlaps with prices.${other}; only one price can hold at a time`);
    }
  }
  return problems;
}
