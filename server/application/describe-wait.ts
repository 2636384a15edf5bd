import type { Shortage } from "../domain/capacity.ts";
import type { Limit } from "../domain/limits.ts";
import { formatSize, type Resources } from "../domain/resources.ts";

/** What a queued task waits for, as one sentence; what others hold of it is named, for they may let it go. */
export function describeShortage(
  { limit, needed, available }: Shortage,
  foreign: Resources,
  where = "this host",
): string {
  const others = new Map<Limit, number>([
    ["CPU", foreign.cpuMillis],
    ["RAM", foreign.ramBytes],
    ["GPU", foreign.gpuCount],
  ]).get(limit);
  const held = others ? `; other containers on ${where} hold ${describeAmount(limit, others)}` : "";
  return `waiting for ${describeAmount(limit, needed)} (${describeAmount(limit, available)} free${held})`;
}

/** As sentences have it: "CPU", "storage". */
export function nameOfLimit(limit: Limit): string {
  return limit === "CPU" || limit === "RAM" || limit === "GPU"
    ? limit
    : limit.toLowerCase().replaceAll("_", " ");
}

/** "2 CPU", "512 MB RAM", "1 GPU". */
export function describeAmount(limit: Limit, value: number): string {
  switch (limit) {
    case "CPU":
      return `${value / 1000} CPU`;
    case "RAM":
      return `${formatSize(value)} RAM`;
    case "STORAGE":
      return `${formatSize(value)} storage`;
    default:
      return `${value} ${limit}`;
  }
}
