/** Where a call stands in a trace of its caller's: the active OpenTelemetry span, else the process's own TRACEPARENT. */
export class TraceContext {
  #api: Promise<typeof import("@opentelemetry/api") | undefined> | undefined;

  /** In the form of W3C trace context; undefined where there is no trace, and the task then begins one of its own. */
  async traceparent(): Promise<string | undefined> {
    this.#api ??= loadApi();
    const api = await this.#api;
    const active = api?.trace.getSpanContext(api.context.active());
    if (api === undefined || active === undefined || !api.isSpanContextValid(active))
      return process.env.TRACEPARENT || undefined;
    const flags = (active.traceFlags & 0xff).toString(16).padStart(2, "0");
    return `00-${active.traceId}-${active.spanId}-${flags}`;
  }
}

/** There only where the program uses OpenTelemetry itself: without it, no span can be active. */
async function loadApi(): Promise<typeof import("@opentelemetry/api") | undefined> {
  try {
    return await import("@opentelemetry/api");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ERR_MODULE_NOT_FOUND") return undefined;
    throw error;
  }
}
