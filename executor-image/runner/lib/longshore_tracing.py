"""Spans of a task's own, under the `run` span of the task's trace, also from a sandbox without a network.

    from longshore_tracing import span

    with span("load", rows=3) as loading:
        loading.set(bytes=7)

    @span("fit")
    def fit(): ...

Spans nest, over threads that copy their context and over asyncio; a process that is started in between begins again below
`run`. Where the server keeps no traces, or the program runs elsewhere, all of it does nothing. It never fails and never
waits long: a span that cannot be sent at once is dropped.

Needs Python 3.9 and its standard library alone. In a sandbox it lies in /longshore/runner/lib; a copy in a project works too.
"""

import contextlib
import contextvars
import json
import os
import re
import socket
import struct
import threading
import time

_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
_SEND_TIMEOUT = struct.pack("@ll", 0, 200_000)  # seconds and microseconds
_MAX_SPAN = 8 << 10
_MAX_TEXT = 500

_current = contextvars.ContextVar("longshore_span", default=None)


class Span(contextlib.ContextDecorator):
    """One piece of work with a beginning and an end. Made by `span`, begun by `with`."""

    def __init__(self, name, attributes):
        self.name = str(name)
        self.attributes = dict(attributes)
        self.span_id = None
        self._parent = None
        self._token = None
        self._start = 0
        self._error = ""

    def _recreate_cm(self):
        return Span(self.name, self.attributes)

    def set(self, **attributes):
        """Adds attributes: texts, numbers and truth values."""
        self.attributes.update(attributes)
        return self

    def fail(self, message):
        """Marks it as failed; an exception that leaves the block does so by itself."""
        self._error = str(message)
        return self

    @property
    def traceparent(self):
        """What to hand on to another process or service, so that its spans come below this one; empty without a trace."""
        trace_id, _ = _inherited()
        return "00-%s-%s-01" % (trace_id, self.span_id) if trace_id and self.span_id else ""

    def __enter__(self):
        self.span_id = os.urandom(8).hex()
        self._parent = _current.get()
        self._token = _current.set(self.span_id)
        self._start = time.time_ns()
        return self

    def __exit__(self, kind, error, trace):
        end = max(time.time_ns(), self._start)
        _current.reset(self._token)
        if kind is not None and not self._error:
            self._error = ("%s: %s" % (kind.__name__, error)).rstrip(": ")
        send(self.name, self.span_id, self._parent, self._start, end, self.attributes, self._error)
        return False


def span(name, **attributes):
    """A span as a context manager or a decorator."""
    return Span(name, attributes)


def send(name, span_id, parent_span_id, start_nanos, end_nanos, attributes, error=""):
    """One finished span; a parent of None is the task's `run`."""
    message = {
        "name": name[:_MAX_TEXT],
        "span_id": span_id,
        "parent_span_id": parent_span_id or "",
        "start_unix_micros": start_nanos // 1000,
        "end_unix_micros": end_nanos // 1000,
        "attributes": {str(key): _plain(value) for key, value in attributes.items()},
        "error": error[:_MAX_TEXT],
    }
    data = json.dumps(message).encode("ascii")
    if len(data) > _MAX_SPAN:
        message["attributes"] = {"truncated": True}
        data = json.dumps(message).encode("ascii")
    _outlet.send(data)


def _plain(value):
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return str(value)[:_MAX_TEXT]


def _inherited():
    """(trace id, span id of `run`), or two Nones."""
    match = _TRACEPARENT.fullmatch(os.environ.get("TRACEPARENT", ""))
    return match.groups() if match else (None, None)


class _Outlet:
    """The way out of the sandbox: the runner's socket, as long as somebody listens there."""

    def __init__(self):
        self.begin_anew()
        # A fork shares the descriptor, and may find the lock held by a thread that it does not have.
        os.register_at_fork(after_in_child=self.begin_anew)

    def begin_anew(self):
        self._lock = threading.Lock()
        self._socket = None

    def send(self, data):
        name = os.environ.get("LONGSHORE_SPANS")
        if not name:
            return
        with self._lock:
            try:
                if self._socket is None:
                    self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                    # Not Python's own timeout: it polls first, and gVisor calls an unconnected socket never writable.
                    self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _SEND_TIMEOUT)
                self._socket.sendto(data, b"\0" + os.fsencode(name))
            except OSError:
                # Full, over the budget, or nobody there: what a program does never depends on who watches it.
                pass


_outlet = _Outlet()


def use_opentelemetry(service_name="task"):
    """Sends what the OpenTelemetry SDK makes, below `run`: call it once at the start, where `opentelemetry-sdk` is installed.

    Returns the provider, which is the global one from then on."""
    from opentelemetry import context, trace
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    provider = TracerProvider(resource=Resource.create({"service.name": service_name}))
    provider.add_span_processor(SimpleSpanProcessor(_Exporter()))
    trace.set_tracer_provider(provider)
    carrier = {"traceparent": os.environ.get("TRACEPARENT", "")}
    context.attach(TraceContextTextMapPropagator().extract(carrier))
    return provider


class _Exporter:
    """What the SDK calls a span exporter."""

    def export(self, spans):
        from opentelemetry.sdk.trace.export import SpanExportResult

        for one in spans:
            parent = "%016x" % one.parent.span_id if one.parent is not None else None
            failed = one.status is not None and not one.status.is_ok
            error = (one.status.description or "failed") if failed else ""
            ids = "%016x" % one.context.span_id, parent
            send(one.name, *ids, one.start_time, one.end_time, dict(one.attributes or {}), error)
        return SpanExportResult.SUCCESS

    def force_flush(self, timeout_millis=30000):
        return True

    def shutdown(self):
        pass
