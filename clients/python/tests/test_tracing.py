"""Spans of a program's own, told to a runner that is a socket here."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import longshore
from longshore._core import remote_entry

RUNNERS = Path(__file__).parents[3] / "executor-image/runner/lib/longshore_tracing.py"
TRACE_ID, RUN_SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Runner:
    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.name = f"longshore-test-{os.getpid()}"
        self._socket.bind(b"\0" + self.name.encode())
        self._socket.setblocking(False)

    def heard(self) -> list[dict[str, Any]]:
        found = []
        while True:
            try:
                found.append(json.loads(self._socket.recv(1 << 16)))
            except BlockingIOError:
                return found

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> Iterator[Runner]:
    made = Runner()
    monkeypatch.setenv("LONGSHORE_SPANS", made.name)
    monkeypatch.setenv("TRACEPARENT", f"00-{TRACE_ID}-{RUN_SPAN}-01")
    yield made
    made.close()


@pytest.fixture
def module() -> ModuleType:
    """The runner's module, as a sandbox loads it."""
    spec = importlib.util.spec_from_file_location("longshore_tracing", RUNNERS)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def test_a_span_that_is_too_large_keeps_its_times(runner: Runner, module: ModuleType) -> None:
    with module.span("wide", **{f"key{n}": "x" * 1000 for n in range(100)}):
        pass
    (wide,) = runner.heard()
    assert wide["attributes"] == {"truncated": True}
    assert wide["start_unix_micros"] <= wide["end_unix_micros"]


def test_a_runner_that_is_gone_or_full_costs_a_program_nothing(
    runner: Runner, module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SEND_TIMEOUT", b"\0" * 8 + (1000).to_bytes(8, sys.byteorder))
    waiting = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text())
    for _ in range(waiting + 20):
        with module.span("many"):
            pass
    assert 0 < len(runner.heard()) < waiting + 20
    runner.close()
    with module.span("late"):
        pass


def test_spans_of_the_opentelemetry_sdk_come_below_run(runner: Runner, module: ModuleType) -> None:
    from opentelemetry import context, trace

    before = context.get_current()
    provider = module.use_opentelemetry()
    try:
        tracer = provider.get_tracer("test")
        with tracer.start_as_current_span("outer", attributes={"rows": 3}), tracer.start_as_current_span("inner"):
            pass
        with pytest.raises(ValueError, match="no"), tracer.start_as_current_span("failed"):
            raise ValueError("no")
        inner, outer, failed = runner.heard()
        assert trace.get_current_span().get_span_context().trace_id == int(TRACE_ID, 16)
    finally:
        context.attach(before)
        provider.shutdown()
    assert (outer["name"], outer["parent_span_id"], outer["attributes"]) == ("outer", RUN_SPAN, {"rows": 3})
    assert inner["parent_span_id"] == outer["span_id"]
    assert failed["error"] == "ValueError: no"


def test_the_package_uses_the_runners_module_in_a_sandbox_and_opentelemetry_elsewhere(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    from opentelemetry.sdk.trace import TracerProvider

    monkeypatch.setattr(longshore.tracing, "_RUNNERS", str(RUNNERS))
    monkeypatch.setattr(longshore.tracing, "_runners", longshore.tracing._load_runners())
    with longshore.tracing.span("inside", rows=1) as inside:
        assert inside.traceparent.startswith(f"00-{TRACE_ID}-")
    assert [span["name"] for span in runner.heard()] == ["inside"]

    monkeypatch.setattr(longshore.tracing, "_runners", None)
    with (
        TracerProvider().get_tracer("test").start_as_current_span("active"),
        longshore.tracing.span("outside", rows=1, nothing=None) as outside,
    ):
        outside.set(more="x").fail("why")

    @longshore.tracing.span("decorated")
    def add(a: int, b: int) -> int:
        return a + b

    assert add(1, 2) == 3
    assert runner.heard() == []


def test_a_function_in_a_sandbox_without_the_package_finds_spans_too(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_entry, "TRACING_FOLDER", str(RUNNERS.parent))
    monkeypatch.delitem(sys.modules, "longshore_tracing", raising=False)
    with remote_entry.stand_in().tracing.span("in a function"):  # type: ignore[no-untyped-call]
        pass
    monkeypatch.delitem(sys.modules, "longshore_tracing")
    monkeypatch.setattr(remote_entry, "TRACING_FOLDER", "/nowhere")
    with remote_entry.stand_in().tracing.span("unheard", rows=1) as unheard:  # type: ignore[no-untyped-call]
        unheard.set(rows=2).fail("why")
    assert [span["name"] for span in runner.heard()] == ["in a function"]
