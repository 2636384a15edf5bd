import type { Money } from "@longshore/client";
import { printable } from "./format.ts";

/** "$12.40", "$0.0031": two places, or two digits that say something where it is less than a hundredth. */
export function formatMoney({ currencyCode, units, nanos }: Money): string {
  const amount = Number(units) + nanos / 1e9;
  const places = amount === 0 || amount >= 0.1 ? 2 : Math.min(9, 1 - Math.floor(Math.log10(amount)));
  const text = amount.toFixed(places);
  const symbol = SYMBOLS.get(currencyCode);
  return symbol === undefined ? `${text} ${printable(currencyCode)}` : `${symbol}${text}`;
}

/** Those that stand for one currency alone; a bare "$" is what the United States write. */
const SYMBOLS: ReadonlyMap<string, string> = new Map([
  ["USD", "$"],
  ["EUR", "€"],
  ["GBP", "£"],
  ["JPY", "¥"],
]);
