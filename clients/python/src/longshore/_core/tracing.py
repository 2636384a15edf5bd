"""The caller's trace, handed on: the active OpenTelemetry span, else the process's own TRACEPARENT."""

from __future__ import annotations

import os


def trace_headers() -> dict[str, str]:
    """W3C trace context; empty without a trace, and the task then begins one of its own."""
    headers: dict[str, str] = {}
    try:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
    except ImportError:
        pass  # without OpenTelemetry no span can be active
    else:
        TraceContextTextMapPropagator().inject(headers)
    inherited = os.environ.get("TRACEPARENT")
    if not headers and inherited:
        headers["traceparent"] = inherited
    return headers
