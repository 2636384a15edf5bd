import type { Duration } from "@longshore/proto/google/protobuf/duration";

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const WHOLE = /^(?:\d{1,9}(?:\.\d{1,3})?(?:ms|[smhd]))+$/;
const PART = /(\d+(?:\.\d+)?)(ms|[smhd])/g;

/** Milliseconds in "30s", "10m", "1h30m" or "500ms"; undefined when it is no duration. A bare number has no unit and is none. */
export function parseDuration(text: string): number | undefined {
  const compact = text.trim();
  if (!WHOLE.test(compact)) return undefined;
  let millis = 0;
  for (const [, amount, unit] of compact.matchAll(PART))
    millis += Number(amount) * (UNITS[unit ?? ""] ?? Number.NaN);
  return Number.isFinite(millis) ? Math.round(millis) : undefined;
}

export function millisToDuration(millis: number): Duration {
  const whole = Math.trunc(millis / 1000);
  return { seconds: BigInt(whole), nanos: Math.round((millis - whole * 1000) * 1_000_000) };
}

/** Milliseconds, fractions kept; 0 when absent. */
export function durationToMillis(duration: Duration | undefined): number {
  return duration === undefined ? 0 : Number(duration.seconds) * 1000 + duration.nanos / 1_000_000;
}
