import { resolve } from "node:path";
import { z } from "zod";
import { parseAliases } from "./domain/alias.ts";
import { parseIpRange, parseIpTarget } from "./domain/ip-range.ts";
import { parseSize } from "./domain/resources.ts";

/** How the text of an environment variable is read, and what is said of it where it cannot be. */

const DURATION_UNITS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

export const duration = z.string().transform((text, context) => {
  const match = /^(\d+)(ms|s|m|h|d)$/.exec(text);
  const unit = DURATION_UNITS[match?.[2] ?? ""];
  if (match?.[1] === undefined || unit === undefined) {
    context.addIssue({ code: "custom", message: "is not a duration such as 30s, 10m or 7d" });
    return z.NEVER;
  }
  return Number(match[1]) * unit;
});
export const size = z.string().transform((text, context) => {
  const bytes = parseSize(text);
  if (bytes !== undefined) return bytes;
  context.addIssue({ code: "custom", message: "is not a size such as 512MB or 1GB" });
  return z.NEVER;
});
export const count = z
  .string()
  .regex(/^\d{1,9}$/, "is not a whole number")
  .transform(Number);
export const cpus = z
  .string()
  .regex(/^\d{1,6}(\.\d{1,3})?$/, 'is not a number of CPUs such as "2" or "0.5"')
  .transform((text) => Math.round(Number(text) * 1000));
export const someCpus = cpus.refine((millis) => millis > 0, "is not above 0");
export const flag = z
  .enum(["true", "false"], "is neither true nor false")
  .transform((text) => text === "true");
export const list = z.string().transform((text) =>
  text
    .split(",")
    .map((item) => item.trim())
    .filter((item) => item !== ""),
);
export const weights = list.transform((items, context) => {
  const pairs = items.map((item) => /^(.+)=(\d{1,6}(?:\.\d{1,6})?)$/.exec(item));
  const bad = items.filter((_, index) => !(Number(pairs[index]?.[2] ?? 0) > 0));
  if (bad.length > 0)
    context.addIssue({ code: "custom", message: `holds ${bad.join(", ")}, which is no NAME=WEIGHT above 0` });
  return new Map(pairs.map((pair) => [pair?.[1] ?? "", Number(pair?.[2] ?? 1)]));
});
const isAddress = (item: string) => /^https?:\/\/[^\s]+$/.test(item) && URL.canParse(item);
// The value is not repeated in what is wrong with it: it may hold a password.
export const address = z
  .string()
  .refine((item) => item === "" || isAddress(item), "is no http or https address");
export const addresses = list.refine(
  (items) => items.every(isAddress),
  "holds what is no http or https address",
);
/** Optional; a union of schemas would say its own words in place of these. */
export function httpUrl(wrong: string) {
  return z.string().refine((item) => item === "" || isAddress(item), wrong);
}
export const text = z.string().min(1, "is empty");
export const path = z.string().transform((given) => (given === "" ? "" : resolve(given)));
export const ranges = readEach(
  list,
  parseIpRange,
  "no IPv4 range such as 10.20.0.0/16, starting at its first address",
);
export const targets = readEach(
  list,
  parseIpTarget,
  "no IPv4 range with an optional port, such as 10.1.2.3:5000",
);

/** A list whose items are all read; the wrong ones are named together. */
export function readEach<T>(items: typeof list, read: (item: string) => T | undefined, wrong: string) {
  return items.transform((texts, context) => {
    const parsed = texts.map((item) => ({ item, value: read(item) }));
    const bad = parsed.flatMap(({ item, value }) => (value === undefined ? [item] : []));
    if (bad.length > 0)
      context.addIssue({ code: "custom", message: `holds ${bad.join(", ")}, which is ${wrong}` });
    return parsed.flatMap(({ value }) => (value === undefined ? [] : [value]));
  });
}

/** NAME=VALUE items; the wrong ones are named together. */
export function aliases<T>(read: (value: string) => T | undefined, wrong: string) {
  return list.transform((items, context) => {
    const problems: string[] = [];
    const parsed = parseAliases(items, read, problems);
    if (problems.length > 0)
      context.addIssue({ code: "custom", message: `holds ${problems.join(", ")}, which is ${wrong}` });
    return parsed;
  });
}

/** One environment variable: what it means, what it is when unset, and how it is read. */
export interface Setting<T extends z.ZodType> {
  readonly about: string;
  readonly fallback: string;
  readonly schema: T;
}

export function setting<T extends z.ZodType>(schema: T, fallback: string, about: string): Setting<T> {
  return { schema, fallback, about };
}
