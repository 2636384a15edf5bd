import type { Metadata } from "@grpc/grpc-js";

/** https://www.w3.org/TR/trace-context/: later versions may append fields, version 00 may not. */
const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?$/;
const MAX_TRACEPARENT_LENGTH = 256;

/** A malformed one is ignored, as the standard asks: tracing never fails a call. */
export function traceparentOf(metadata: Metadata): string | undefined {
  const [value, ...more] = metadata.get("traceparent");
  if (typeof value !== "string" || more.length > 0 || value.length > MAX_TRACEPARENT_LENGTH) return undefined;
  const [, version, traceId, parentId, rest] = TRACEPARENT.exec(value) ?? [];
  if (version === undefined || version === "ff" || (version === "00" && rest !== undefined)) return undefined;
  if (isZero(traceId) || isZero(parentId)) return undefined;
  return value;
}

function isZero(hex: string | undefined): boolean {
  return hex === undefined || /^0+$/.test(hex);
}
