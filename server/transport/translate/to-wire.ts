import type { Duration } from "@longshore/proto/google/protobuf/duration.ts";
import type { Money as WireMoney } from "@longshore/proto/google/type/money.ts";
import { type Money, NANOS_PER_UNIT } from "#server/domain/charge.ts";

/** int64 of a count or size; measured values may carry a fraction. */
export function int64(value: number): bigint {
  return BigInt(Math.round(value));
}

export function durationOfMicros(micros: number): Duration {
  const whole = Math.round(micros);
  return { seconds: BigInt(Math.floor(whole / 1e6)), nanos: (whole % 1e6) * 1000 };
}

export function durationOfMillis(millis: number | null): Duration | undefined {
  return millis === null ? undefined : durationOfMicros(millis * 1000);
}

export function moneyToProto({ currency, nanos }: Money): WireMoney {
  return {
    currencyCode: currency,
    units: nanos / NANOS_PER_UNIT,
    nanos: Number(nanos % NANOS_PER_UNIT),
  };
}
