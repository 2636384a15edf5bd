export type SpanAttributes = Readonly<Record<string, string | number | boolean>>;

/** Something that happened at one moment of a span. */
export interface SpanEvent {
  readonly name: string;
  /** Microseconds since 1970. */
  readonly micros: number;
  readonly attributes: SpanAttributes;
}

/** A finished span with its ids chosen beforehand, so that a span of an attempt stays whole across a restart of the server. */
export interface SpanRecord {
  /** Whose word it is. */
  readonly source: "server" | "task";
  /** 32 hex digits. */
  readonly traceId: string;
  /** 16 hex digits. */
  readonly spanId: string;
  /** Empty for a trace of our own. */
  readonly parentSpanId: string;
  readonly name: string;
  /** Microseconds since 1970: spans of a task's own are often shorter than a millisecond. */
  readonly startMicros: number;
  readonly endMicros: number;
  readonly attributes: SpanAttributes;
  readonly events: readonly SpanEvent[];
  /** One sentence when it failed; empty otherwise. */
  readonly error: string;
}

export interface Telemetry {
  /** Whether spans go anywhere; where they do not, nothing needs to be made for them. */
  readonly tracing: boolean;
  record(span: SpanRecord): void;
  /** Sends what is pending, bounded in time; never rejects because a collector is away. */
  close(): Promise<void>;
}

/** Structured log lines of the server; never secrets, env values or code. */
export interface Log {
  debug(message: string, facts?: Readonly<Record<string, unknown>>): void;
  info(message: string, facts?: Readonly<Record<string, unknown>>): void;
  warn(message: string, facts?: Readonly<Record<string, unknown>>): void;
  error(message: string, facts?: Readonly<Record<string, unknown>>): void;
}
