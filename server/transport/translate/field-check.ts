import type { Duration } from "@longshore/proto/google/protobuf/duration.ts";
import { type FieldViolation, InvalidRequest } from "#server/domain/errors.ts";
import { isSha256 } from "#server/domain/sha256.ts";

/** Beyond ten thousand years a duration is a mistake; also the bound of google.protobuf.Duration itself. */
const MAX_DURATION_SECONDS = 315_576_000_000n;
/** Years 1 to 9999, the range of google.protobuf.Timestamp. */
const FIRST_TIME = Date.parse("0001-01-01T00:00:00Z");
const LAST_TIME = Date.parse("9999-12-31T23:59:59.999Z");

/** An enum as ts-proto writes it: names without prefix to numbers. */
type WireEnum = Readonly<Record<string, number>>;
/** The names of a wire enum that mean something; the domain uses the same words. */
type NameOf<E extends WireEnum> = Exclude<keyof E & string, "UNSPECIFIED">;

/** Reads fields of one request into domain values and gathers everything that is wrong with it. */
export class FieldCheck {
  readonly violations: FieldViolation[] = [];

  add(field: string, description: string): void {
    this.violations.push({ field, description });
  }

  /** For requests that the application does not check further. */
  throwIfAny(): void {
    if (this.violations.length > 0) throw this.failure();
  }

  failure(): InvalidRequest {
    return new InvalidRequest(this.violations);
  }

  required(field: string, value: string): string {
    if (value === "") this.add(field, "is required");
    return value;
  }

  digest(field: string, value: string): string {
    if (!isSha256(value)) this.add(field, "must be a SHA-256 digest: 64 lower-case hex digits");
    return value;
  }

  /** Numbers here hold integers up to 2^53 exactly; nothing that is counted or stored comes near. */
  size(field: string, value: bigint): number {
    if (value < 0n) this.add(field, `${value} must not be negative`);
    else if (value > BigInt(Number.MAX_SAFE_INTEGER)) this.add(field, `${value} is too large`);
    else return Number(value);
    return 0;
  }

  count(field: string, value: number): number {
    if (value >= 0) return value;
    this.add(field, `${value} must not be negative`);
    return 0;
  }

  /** Milliseconds, rounded up so that no time above 0 becomes 0; null when absent. */
  duration(field: string, value: Duration | undefined, least: "0 or more" | "above 0"): number | null {
    if (value === undefined) return null;
    const { seconds, nanos } = value;
    const negative = seconds < 0n || nanos < 0;
    const zero = seconds === 0n && nanos === 0;
    if (Math.abs(nanos) > 999_999_999) this.add(field, `nanos ${nanos} is not below one second`);
    else if (negative || (zero && least === "above 0")) this.add(field, `must be ${least}`);
    else if (seconds > MAX_DURATION_SECONDS) this.add(field, `${seconds} s is too long`);
    else return Number(seconds) * 1000 + Math.ceil(nanos / 1e6);
    return null;
  }

  time(field: string, value: Date | undefined): Date | null {
    if (value === undefined) return null;
    const millis = value.getTime();
    if (millis >= FIRST_TIME && millis <= LAST_TIME) return value;
    this.add(field, "is not a time between the years 1 and 9999");
    return null;
  }

  /** The domain's word for an enum number; null when unspecified. */
  choice<E extends WireEnum>(field: string, names: E, value: number): NameOf<E> | null {
    if (value === 0) return null;
    const name = nameOf(names, value);
    if (name === undefined) this.add(field, `${value} is none of ${namesOf(names)}`);
    return name ?? null;
  }

  choices<E extends WireEnum>(field: string, names: E, values: readonly number[]): NameOf<E>[] {
    const chosen: NameOf<E>[] = [];
    values.forEach((value, index) => {
      const name = nameOf(names, value);
      if (name === undefined) this.add(`${field}[${index}]`, `${value} is none of ${namesOf(names)}`);
      else chosen.push(name);
    });
    return chosen;
  }
}

function nameOf<E extends WireEnum>(names: E, value: number): NameOf<E> | undefined {
  // The keys of a ts-proto enum are exactly its names; 0 is always UNSPECIFIED and never a choice.
  const keys = Object.keys(names) as NameOf<E>[];
  return value === 0 ? undefined : keys.find((key) => names[key] === value);
}

function namesOf(names: WireEnum): string {
  return Object.keys(names)
    .filter((name) => name !== "UNSPECIFIED")
    .join(", ");
}
