import type { FieldViolation } from "./errors.ts";

/** Quantities as people write them; an empty string takes the server's default. */
export interface ResourceRequest {
  readonly cpu: string;
  readonly gpu: string;
  readonly ram: string;
  readonly storage: string;
  readonly gpuModel: string;
}

/** The same in typed units: what admission counts and what an attempt is held to. */
export interface Resources {
  readonly cpuMillis: number;
  readonly ramBytes: number;
  readonly storageBytes: number;
  readonly gpuCount: number;
}

export const MEBIBYTE = 2 ** 20;
export const GIBIBYTE = 2 ** 30;

const SIZE_UNITS: Readonly<Record<string, number>> = {
  KB: 2 ** 10,
  KIB: 2 ** 10,
  MB: MEBIBYTE,
  MIB: MEBIBYTE,
  GB: GIBIBYTE,
  GIB: GIBIBYTE,
  TB: 2 ** 40,
  TIB: 2 ** 40,
};

const SIZE = /^(\d{1,15}(?:\.\d{1,6})?)\s?([A-Za-z]{2,3})$/;
const DECIMAL = /^\d{1,9}(?:\.\d{1,6})?$/;
const WHOLE = /^\d{1,6}$/;

/** Bytes in "512MB" or "1.5GiB" (MB and MiB both mean 2^20, as Docker reads them); undefined when it is no size. */
export function parseSize(text: string): number | undefined {
  const match = SIZE.exec(text.trim());
  const unit = SIZE_UNITS[match?.[2]?.toUpperCase() ?? ""];
  if (match?.[1] === undefined || unit === undefined) return undefined;
  const bytes = Math.round(Number(match[1]) * unit);
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** Bytes as people read them: "512 MB", "1.5 GB". */
export function formatSize(bytes: number): string {
  for (const [unit, size] of [
    ["TB", 2 ** 40],
    ["GB", GIBIBYTE],
    ["MB", MEBIBYTE],
    ["KB", 2 ** 10],
  ] as const) {
    if (bytes >= size) return `${Number((bytes / size).toFixed(2))} ${unit}`;
  }
  return `${bytes} bytes`;
}

/** Turns quantity strings into typed units; every wrong one is added to `violations` under `path`. */
export function parseResources(
  asked: ResourceRequest,
  defaults: Resources,
  path: string,
  violations: FieldViolation[],
): Resources {
  const refuse = (field: string, value: string, description: string) =>
    violations.push({ field: `${path}.${field}`, description: `"${value}" ${description}` });

  let cpuMillis = defaults.cpuMillis;
  if (asked.cpu !== "") {
    cpuMillis = DECIMAL.test(asked.cpu) ? Math.round(Number(asked.cpu) * 1000) : 0;
    if (cpuMillis <= 0) refuse("cpu", asked.cpu, 'is not a number of CPUs above 0, such as "2" or "0.5"');
    else if (cpuMillis < 10) refuse("cpu", asked.cpu, "is below the least of 0.01 CPU");
  }
  let gpuCount = defaults.gpuCount;
  if (asked.gpu !== "") {
    gpuCount = Number(asked.gpu);
    if (!WHOLE.test(asked.gpu)) refuse("gpu", asked.gpu, 'is not a whole number of GPUs, such as "0" or "1"');
  }
  const size = (field: "ram" | "storage", fallback: number, least: number): number => {
    const text = asked[field];
    if (text === "") return fallback;
    const bytes = parseSize(text);
    if (bytes === undefined) refuse(field, text, "needs a number and a unit, such as 512MB or 1GB");
    else if (bytes < least) refuse(field, text, `is below the least of ${formatSize(least)}`);
    return bytes ?? fallback;
  };
  return {
    cpuMillis,
    gpuCount,
    ramBytes: size("ram", defaults.ramBytes, 32 * MEBIBYTE),
    storageBytes: size("storage", defaults.storageBytes, 8 * MEBIBYTE),
  };
}
