import type { FieldViolation } from "#server/domain/errors.ts";
import type { Principal } from "#server/domain/principal.ts";

/** Who calls. */
export interface Caller extends Principal {
  /** W3C traceparent that the caller sent, already checked for form; undefined when it sent none. */
  readonly traceparent: string | undefined;
  /** Address that the call came from, without its port. */
  readonly peer: string;
}

/**
 * What the wire form alone shows to be wrong: enum numbers that do not exist, negative sizes, fields that this server does not
 * support. The application adds its own and throws one InvalidRequest with all of them; it never goes on when this is not empty.
 */
export interface Checked {
  readonly violations: readonly FieldViolation[];
}
