"""Spans of a program's own: in a task below its `run`, elsewhere below the active OpenTelemetry span, if there is one.

    from longshore.tracing import span

    with span("load", rows=3) as loading:
        loading.set(bytes=7)

    @span("fit")
    def fit(): ...

In a sandbox they need neither a network nor OpenTelemetry: they leave through the runner, whose own module does the work
(`/longshore/runner/lib/longshore_tracing.py`, for programs that have not got this package). A span never fails and never
waits, whoever listens.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
from types import ModuleType, TracebackType
from typing import Any, Protocol, cast

__all__ = ["Span", "span"]

_RUNNERS = "/longshore/runner/lib/longshore_tracing.py"

Value = str | int | float | bool | None


class Span(Protocol):
    """What `span` makes: a context manager, and a decorator."""

    @property
    def traceparent(self) -> str:
        """What to hand on, so that another program's spans come below this one; empty without a trace."""
        ...

    def set(self, **attributes: Value) -> Span:
        """Adds attributes."""
        ...

    def fail(self, message: str) -> Span:
        """Marks it as failed; an exception that leaves the block does so by itself."""
        ...

    def __enter__(self) -> Span: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None: ...

    def __call__(self, function: Any) -> Any: ...


def span(name: str, **attributes: Value) -> Span:
    """A piece of work with a beginning and an end."""
    if _runners is not None:
        return cast(Span, _runners.span(name, **attributes))
    return cast(Span, _LocalSpan(name, attributes))


class _LocalSpan(contextlib.ContextDecorator):
    """Outside of a sandbox: OpenTelemetry's, where that is installed, else nothing."""

    def __init__(self, name: str, attributes: dict[str, Value]) -> None:
        self._name = name
        self._attributes = attributes
        self._open: Any = None
        self._span: Any = None

    def _recreate_cm(self) -> _LocalSpan:
        return _LocalSpan(self._name, self._attributes)

    @property
    def traceparent(self) -> str:
        context = None if self._span is None else self._span.get_span_context()
        if context is None or not context.is_valid:
            return ""
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"

    def set(self, **attributes: Value) -> _LocalSpan:
        if self._span is not None:
            self._span.set_attributes({key: value for key, value in attributes.items() if value is not None})
        return self

    def fail(self, message: str) -> _LocalSpan:
        if self._span is not None:
            from opentelemetry.trace import Status, StatusCode

            self._span.set_status(Status(StatusCode.ERROR, message))
        return self

    def __enter__(self) -> _LocalSpan:
        try:
            from opentelemetry import trace
        except ImportError:
            return self  # nobody keeps it
        self._open = trace.get_tracer("longshore").start_as_current_span(self._name)
        self._span = self._open.__enter__()
        return self.set(**self._attributes)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return None if self._open is None else bool(self._open.__exit__(kind, error, trace))


def _load_runners() -> ModuleType | None:
    """The runner's own module: it speaks the language of the very server that the task runs under."""
    if not os.environ.get("LONGSHORE_SPANS") or not os.path.isfile(_RUNNERS):
        return None
    spec = importlib.util.spec_from_file_location("longshore_tracing", _RUNNERS)
    if spec is None or spec.loader is None:
        return None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_runners = _load_runners()
