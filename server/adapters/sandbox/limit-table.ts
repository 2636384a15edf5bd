import type { Limit, LimitSupport } from "../../domain/limits.ts";

export type Support = Omit<LimitSupport, "limit">;

/** Held by the runner and the server, whatever the isolation. */
export const SERVER_LIMITS = {
  LOG: enforced("counted by the runner; RLIMIT_FSIZE bounds the journal if the runner is overcome"),
  ARTIFACTS: enforced("counted by the runner; RLIMIT_FSIZE bounds the file if the runner is overcome"),
  RUN_TIME: enforced("the runner's clock, backed by the server's"),
  QUEUE_TIME: enforced("the server's clock"),
  TOTAL_TIME: enforced("the runner's clock, backed by the server's"),
  QUOTA: enforced("the server, at admission"),
} as const;

export function limitTable(supports: Readonly<Record<Limit, Support>>): LimitSupport[] {
  return LIMIT_ORDER.map((limit) => ({ limit, ...supports[limit] }));
}

const LIMIT_ORDER: readonly Limit[] = [
  "CPU",
  "RAM",
  "STORAGE",
  "GPU",
  "PROCESSES",
  "OPEN_FILES",
  "INODES",
  "LOG",
  "ARTIFACTS",
  "RUN_TIME",
  "QUEUE_TIME",
  "TOTAL_TIME",
  "QUOTA",
  "NETWORK",
];

export function enforced(mechanism: string): Support {
  return { level: "ENFORCED", mechanism, advice: "" };
}

export function advisory(mechanism: string, advice: string): Support {
  return { level: "ADVISORY", mechanism, advice };
}

export function unsupported(mechanism: string, advice: string): Support {
  return { level: "UNSUPPORTED", mechanism, advice };
}
