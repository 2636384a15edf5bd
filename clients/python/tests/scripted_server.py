"""A server that says what a test wants it to say, however hostile."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

import grpc

from longshore.v1 import task_pb2, task_service_pb2
from longshore.v1.task_service_pb2_grpc import TaskServiceServicer, add_TaskServiceServicer_to_server


class ScriptedServer(TaskServiceServicer):
    def __init__(self) -> None:
        self.calls: list[tuple[str, object, dict[str, str | bytes]]] = []
        # How many of the next calls are answered with UNAVAILABLE.
        self.away = 0
        self.artifacts: dict[str, bytes] = {}
        self.wrong_digests = False
        self.watch: Callable[[], Iterator[task_service_pb2.TaskEvent]] = lambda: iter(())
        self.stopping = threading.Event()
        self._server = grpc.server(ThreadPoolExecutor(8))
        add_TaskServiceServicer_to_server(self, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self) -> ScriptedServer:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping.set()
        self._server.stop(None).wait()

    def _called(self, name: str, request: object, context: grpc.ServicerContext) -> None:
        self.calls.append((name, request, dict(context.invocation_metadata())))
        if self.away > 0:
            self.away -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "draining")

    def CreateTask(self, request, context):  # type: ignore[no-untyped-def]
        self._called("CreateTask", request, context)
        return task_service_pb2.CreateTaskResponse(task=task_pb2.Task(id="01J", spec=request))

    def DeleteTask(self, request, context):  # type: ignore[no-untyped-def]
        self._called("DeleteTask", request, context)
        return task_service_pb2.DeleteTaskResponse()

    def WatchTask(self, request, context):  # type: ignore[no-untyped-def]
        self._called("WatchTask", request, context)
        for event in self.watch():
            yield task_service_pb2.WatchTaskResponse(event=event)

    def ListArtifacts(self, request, context):  # type: ignore[no-untyped-def]
        digests = {path: hashlib.sha256(content).hexdigest() for path, content in self.artifacts.items()}
        return task_service_pb2.ListArtifactsResponse(
            artifacts=[
                task_pb2.Artifact(path=path, size_bytes=len(content), sha256=digests[path])
                for path, content in self.artifacts.items()
            ]
        )

    def DownloadArtifact(self, request, context):  # type: ignore[no-untyped-def]
        content = self.artifacts[request.artifact.path]
        if self.wrong_digests:
            content = b"?" * len(content)
        yield task_service_pb2.DownloadArtifactResponse(offset_bytes=request.offset_bytes, chunk=content)
