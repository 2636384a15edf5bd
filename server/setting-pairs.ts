import type { Values } from "./settings.ts";

/** What holds where a request says nothing, and the most that one may ask for. */
const DEFAULT_AND_MOST = [
  ["LONGSHORE_DEFAULT_TIMEOUT", "LONGSHORE_MAX_TIMEOUT"],
  ["LONGSHORE_STOP_GRACE", "LONGSHORE_MAX_STOP_GRACE"],
  ["LONGSHORE_RETENTION", "LONGSHORE_MAX_RETENTION"],
  ["LONGSHORE_PROCESSES", "LONGSHORE_MAX_PROCESSES"],
  ["LONGSHORE_OPEN_FILES", "LONGSHORE_MAX_OPEN_FILES"],
  ["LONGSHORE_INODES", "LONGSHORE_MAX_INODES"],
  ["LONGSHORE_LOG_BUDGET", "LONGSHORE_MAX_LOG_BUDGET"],
  ["LONGSHORE_ARTIFACT_BUDGET", "LONGSHORE_MAX_ARTIFACT_BUDGET"],
  ["LONGSHORE_URL_LIFETIME", "LONGSHORE_MAX_URL_LIFETIME"],
] as const satisfies readonly (readonly [keyof Values, keyof Values])[];

/** A default above its own maximum would give more to who says nothing than to who asks. */
export function pairProblems(values: Values): string[] {
  return DEFAULT_AND_MOST.filter(([normal, most]) => values[normal] > values[most]).map(
    ([normal, most]) => `${normal} is more than ${most} allows; raise that, or lower this`,
  );
}
