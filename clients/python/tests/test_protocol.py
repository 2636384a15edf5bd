"""What goes over the wire, and what is made of servers that are away, silent or hostile."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.any_pb2 import Any
from google.rpc import error_details_pb2, status_pb2
from scripted_server import ScriptedServer

import longshore
from longshore import TaskChanged, aio
from longshore._core.status import error_of
from longshore.v1 import task_pb2, task_service_pb2


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as made:  # type: ignore[abstract] # what no test calls
        yield made


def event(cursor: str, state: int) -> task_service_pb2.TaskEvent:
    return task_service_pb2.TaskEvent(cursor=cursor, task=task_pb2.Task(id="01J", state=state))  # type: ignore[arg-type]


def test_what_may_happen_twice_is_tried_again_with_the_same_request_id(server: ScriptedServer) -> None:
    with longshore.Client(server.address) as client:
        server.away = 2
        client.submit(code="print(1)")
        assert len({request.request_id for _, request, _ in server.calls}) == 1  # type: ignore[attr-defined]
        assert len(server.calls) == 3
        server.calls.clear()
        server.away = 1
        with pytest.raises(longshore.Unavailable, match="draining"):
            client.task("01J").delete()
        assert len(server.calls) == 1


def test_metadata_is_asked_anew_and_the_active_trace_goes_along(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from opentelemetry.sdk.trace import TracerProvider

    monkeypatch.delenv("TRACEPARENT", raising=False)
    tokens = iter(["Bearer 1", "Bearer 2", "Bearer 3"])
    with longshore.Client(server.address, metadata=lambda: {"authorization": next(tokens)}) as client:
        client.submit(code="1")
        with TracerProvider().get_tracer("test").start_as_current_span("caller") as span:
            client.submit(code="1")
        inherited = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        monkeypatch.setenv("TRACEPARENT", inherited)
        client.submit(code="1")
    first, second, third = (sent for _, _, sent in server.calls)
    assert (first["authorization"], second["authorization"]) == ("Bearer 1", "Bearer 2")
    assert "traceparent" not in first
    assert f"{span.get_span_context().trace_id:032x}" in str(second["traceparent"])
    assert third["traceparent"] == inherited


def test_a_server_that_falls_silent_is_left(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The terminal record alone ends a watch: not a stream that ends in good order, and not one that stays open."""
    running, ended = task_pb2.Task.STATE_RUNNING, task_pb2.Task.STATE_SUCCEEDED

    def streams() -> Iterator[Iterator[task_service_pb2.TaskEvent]]:
        for _ in range(2):
            yield iter([event("a", running)])
            yield silent()
            yield iter([event("c", ended)])

    def silent() -> Iterator[task_service_pb2.TaskEvent]:
        yield event("b", running)
        server.stopping.wait()

    script = streams()
    server.watch = lambda: next(script)
    for module in ("_sync", "_async"):
        monkeypatch.setattr(f"longshore.{module}.watch.SILENCE", 0.3)

    def check(events: list[longshore.TaskEvent], lost: list[Exception]) -> None:
        states = [longshore.state_name(found.task.state) for found in events if isinstance(found, TaskChanged)]
        assert states == ["running", "succeeded"]
        assert [
            next(part for part in ("ended the stream", "sent nothing for 0.3 s") if part in str(error))
            for error in lost
        ] == ["ended the stream", "sent nothing for 0.3 s"]
        cursors = [request.cursor for _, request, _ in server.calls]  # type: ignore[attr-defined]
        assert cursors == ["", "a", "b"]
        server.calls.clear()

    lost: list[Exception] = []
    with longshore.Client(server.address) as client:
        check(list(client.task("01J").watch(on_reconnect=lost.append)), lost)

    async def main() -> None:
        lost: list[Exception] = []
        async with aio.Client(server.address) as client:
            check([found async for found in client.task("01J").watch(on_reconnect=lost.append)], lost)

    asyncio.run(main())


@pytest.mark.parametrize("path", ["../escape", "/etc/passwd", "a/../../b", "a//b", "nul\0", "."])
def test_artifacts_stay_in_their_folder(server: ScriptedServer, tmp_path: Path, path: str) -> None:
    server.artifacts = {"good": b"1", path: b"2"}
    with longshore.Client(server.address) as client, pytest.raises(longshore.UnsafeArtifactPath) as unsafe:
        client.task("01J").artifacts.download_all(tmp_path / "out")
    assert unsafe.value.paths == (path,)
    assert list(tmp_path.iterdir()) == []


def test_artifacts_follow_no_link_out(server: ScriptedServer, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    out = tmp_path / "out"
    out.mkdir()
    (out / "link").symlink_to("../elsewhere")
    server.artifacts = {"link/file": b"1"}
    with longshore.Client(server.address) as client:
        with pytest.raises(longshore.UnsafeArtifactPath, match="is a link out of the folder"):
            client.task("01J").artifacts.download_all(out)
        server.artifacts = {"file": b"1"}
        (out / "file").symlink_to("../elsewhere/file")
        client.task("01J").artifacts.download_all(out)
        server.wrong_digests = True
        with pytest.raises(longshore.DigestMismatch):
            client.task("01J").artifacts.download_all(out)
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert (out / "file").read_bytes() == b"1"
    assert not (out / "file").is_symlink()


def details(*messages: object) -> dict[str, str | bytes]:
    packed = []
    for message in messages:
        wrapped = Any()
        wrapped.Pack(message)  # type: ignore[arg-type]
        packed.append(wrapped)
    return {"grpc-status-details-bin": status_pb2.Status(details=packed).SerializeToString()}


def reason(name: str, **metadata: str) -> error_details_pb2.ErrorInfo:
    return error_details_pb2.ErrorInfo(reason=name, domain="longshore", metadata=metadata)


@pytest.mark.parametrize(
    ("code", "name", "expected"),
    [
        ("INVALID_ARGUMENT", "BAD_ARCHIVE", longshore.BadArchive),
        ("INVALID_ARGUMENT", "DIGEST_MISMATCH", longshore.DigestMismatch),
        ("INVALID_ARGUMENT", "BAD_CURSOR", longshore.LongshoreError),
        ("FAILED_PRECONDITION", "NEVER_FITS", longshore.NeverFits),
        ("FAILED_PRECONDITION", "NOT_ENFORCED", longshore.NotEnforced),
        ("FAILED_PRECONDITION", "WRONG_STATE", longshore.WrongState),
        ("FAILED_PRECONDITION", "IMAGE_REFUSED", longshore.ImageRefused),
        ("NOT_FOUND", "NOT_FOUND", longshore.NotFound),
        ("ALREADY_EXISTS", "REQUEST_ID_REUSED", longshore.RequestIdReused),
        ("ABORTED", "UPLOAD_IN_PROGRESS", longshore.UploadInProgress),
        ("OUT_OF_RANGE", "WRONG_OFFSET", longshore.WrongOffset),
        ("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED", longshore.QuotaExceeded),
        ("RESOURCE_EXHAUSTED", "RATE_LIMITED", longshore.RateLimited),
        ("UNAVAILABLE", "UNAVAILABLE", longshore.Unavailable),
        ("UNAUTHENTICATED", "UNAUTHENTICATED", longshore.Unauthenticated),
        ("PERMISSION_DENIED", "MISSING_SCOPE", longshore.PermissionDenied),
        ("INTERNAL", "INTERNAL", longshore.ServerFault),
        ("INTERNAL", "", longshore.ConnectionLost),
        ("DEADLINE_EXCEEDED", "", longshore.LongshoreError),
    ],
)
def test_every_reason_has_its_error(code: str, name: str, expected: type[longshore.LongshoreError]) -> None:
    trailing = details(reason(name, scope="run")) if name else {}
    error = error_of(grpc.StatusCode[code], "what happened", trailing)
    assert type(error) is expected
    assert (error.code, error.reason, str(error)) == (code, name, "what happened")
    assert error.metadata == ({"scope": "run"} if name else {})


def test_what_comes_with_an_error() -> None:
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(1500)
    away = error_of(grpc.StatusCode.UNAVAILABLE, "", details(reason("UNAVAILABLE"), retry))
    assert isinstance(away, longshore.Unavailable)
    assert (away.retry_after, away.unreachable) == (1.5, False)
    quota = error_details_pb2.QuotaFailure(violations=[error_details_pb2.QuotaFailure.Violation(subject="tenant:a")])
    full = error_of(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", details(reason("QUOTA_EXCEEDED"), quota))
    assert isinstance(full, longshore.QuotaExceeded)
    assert full.violations[0].subject == "tenant:a"
    fault = error_of(
        grpc.StatusCode.INTERNAL, "", details(reason("INTERNAL"), error_details_pb2.RequestInfo(request_id="42"))
    )
    assert isinstance(fault, longshore.ServerFault)
    assert fault.request_id == "42"
    damaged = error_of(grpc.StatusCode.NOT_FOUND, "gone", {"grpc-status-details-bin": b"\xff\xff"})
    assert isinstance(damaged, longshore.NotFound)
