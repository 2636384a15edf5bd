import { z } from "zod";
import { NO_QUOTA, type Quota, Quotas } from "./domain/quota.ts";
import { parseSize } from "./domain/resources.ts";
import { readJsonFile } from "./json-file.ts";
import { money } from "./price-file.ts";

const WRONG_CPU = 'is no number of CPUs such as "8" or "0.5"';
const cpus = z
  .string(WRONG_CPU)
  .regex(/^\d{1,6}(\.\d{1,3})?$/, WRONG_CPU)
  .transform((text) => Math.round(Number(text) * 1000));

const WRONG_SIZE = 'is no size such as "512MB" or "16GB"';
const size = z.string(WRONG_SIZE).transform((text, context) => {
  const bytes = parseSize(text);
  if (bytes !== undefined) return bytes;
  context.addIssue({ code: "custom", message: WRONG_SIZE });
  return z.NEVER;
});

const count = z.int("is no whole number").min(0, "is below 0");

/** A field that is left out is the default's; null takes the limit away. */
const quota = z.strictObject({
  cpu: cpus.nullable().optional(),
  ram: size.nullable().optional(),
  storage: size.nullable().optional(),
  gpu: count.nullable().optional(),
  queued_tasks: count.nullable().optional(),
  stored_bytes: size.nullable().optional(),
  monthly_spend: money.nullable().optional(),
  when_spent: z
    .enum(["start_nothing", "stop_running"], 'is neither "start_nothing" nor "stop_running"')
    .optional(),
});

const quotaFile = z.strictObject({
  default: quota.optional(),
  tenants: z.record(z.string().min(1), quota).optional(),
});

/** Reads what tenants may have at most. Throws FileProblems. */
export function readQuotaFile(path: string): Quotas {
  const file = readJsonFile(path, quotaFile);
  const fallback = over(NO_QUOTA, file.default ?? {});
  const tenants = Object.entries(file.tenants ?? {});
  return new Quotas(fallback, new Map(tenants.map(([name, own]) => [name, over(fallback, own)])));
}

function over(base: Quota, own: z.output<typeof quota>): Quota {
  const pick = <T>(value: T | undefined, fallback: T): T => (value === undefined ? fallback : value);
  return {
    cpuMillis: pick(own.cpu, base.cpuMillis),
    ramBytes: pick(own.ram, base.ramBytes),
    storageBytes: pick(own.storage, base.storageBytes),
    gpuCount: pick(own.gpu, base.gpuCount),
    queuedTasks: pick(own.queued_tasks, base.queuedTasks),
    storedBytes: pick(own.stored_bytes, base.storedBytes),
    monthlySpendNanos: pick(own.monthly_spend, base.monthlySpendNanos),
    stopsRunning: own.when_spent === undefined ? base.stopsRunning : own.when_spent === "stop_running",
  };
}
