/** A span that a program of a task told of itself: a claim, checked for form and size and for nothing else. */
export interface TaskSpan {
  readonly name: string;
  /** 16 hex digits. */
  readonly spanId: string;
  /** Empty for one directly under the run. */
  readonly parentSpanId: string;
  /** Microseconds since 1970. */
  readonly startMicros: number;
  readonly endMicros: number;
  readonly attributes: Readonly<Record<string, string | number | boolean>>;
  readonly error: string;
}

/** What one attempt may tell: enough for a program that marks its steps, too little to fill a journal or a collector. */
export const SPAN_BUDGET = { count: 1_000, bytes: 512 * 1024 } as const;

const MAX_SPAN_BYTES = 8 * 1024;
const MAX_TEXT = 512;
const MAX_NAME = 128;
const MAX_ATTRIBUTES = 32;
const SPAN_ID = /^(?!0{16})[0-9a-f]{16}$/;
const KEY = /^[A-Za-z0-9_.\-/]{1,64}$/;
/** Attributes of the server's own; a task must not speak in its name. */
const RESERVED = /^longshore\./i;

/** Undefined for anything that is no span: what a task writes wrongly is its own loss. */
export function parseTaskSpan(data: Uint8Array): TaskSpan | undefined {
  const fields = data.length > MAX_SPAN_BYTES ? undefined : jsonObject(data);
  if (fields === undefined) return undefined;
  const { name, span_id: spanId, parent_span_id: parent = "", attributes, error = "" } = fields;
  const startMicros = micros(fields.start_unix_micros);
  const endMicros = micros(fields.end_unix_micros);
  if (typeof name !== "string" || name.trim() === "" || !isSpanId(spanId)) return undefined;
  if (startMicros === undefined || endMicros === undefined) return undefined;
  return {
    name: line(name, MAX_NAME),
    spanId,
    parentSpanId: isSpanId(parent) ? parent : "",
    startMicros,
    endMicros: Math.max(startMicros, endMicros),
    attributes: plainAttributes(attributes),
    error: typeof error === "string" ? line(error, MAX_TEXT) : "",
  };
}

function jsonObject(data: Uint8Array): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(data));
    return typeof value === "object" && value !== null && !Array.isArray(value) ? { ...value } : undefined;
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof TypeError) return undefined;
    throw error;
  }
}

function isSpanId(value: unknown): value is string {
  return typeof value === "string" && SPAN_ID.test(value);
}

function micros(value: unknown): number | undefined {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0 ? value : undefined;
}

function plainAttributes(value: unknown): TaskSpan["attributes"] {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return {};
  const kept = Object.entries(value).flatMap(([key, item]): [string, string | number | boolean][] => {
    if (!KEY.test(key) || RESERVED.test(key)) return [];
    if (typeof item === "string") return [[key, line(item, MAX_TEXT)]];
    return typeof item === "boolean" || (typeof item === "number" && Number.isFinite(item))
      ? [[key, item]]
      : [];
  });
  return Object.fromEntries(kept.slice(0, MAX_ATTRIBUTES));
}

/** Terminals show spans too: nothing in them may move a cursor. */
function line(text: string, most: number): string {
  return text.slice(0, most).replace(/\p{C}/gu, " ").trim();
}
