"""The caller's trace, handed on where OpenTelemetry is installed and a span is active."""

from __future__ import annotations


def trace_headers() -> dict[str, str]:
    """W3C trace context of the active span; empty without one."""
    try:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
    except ImportError:
        return {}
    headers: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(headers)
    return headers
