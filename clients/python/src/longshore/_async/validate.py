"""Has the server say everything that is wrong with a task before its bytes are sent."""

from __future__ import annotations

from longshore.v1 import task_pb2, task_service_pb2

from .._core.errors import LongshoreError
from .channel import Channel

# The server takes messages of 4 MiB.
MOST_DESCRIBED_BYTES = 2**20


class Validation:
    """Asks once, and only when something is about to be sent: what the server has already costs no further question."""

    def __init__(
        self,
        channel: Channel,
        task: task_pb2.CreateTaskRequest,
        project: task_service_pb2.ProjectDescription | None,
        traceparent: str,
    ) -> None:
        self._channel = channel
        self._task = task
        self._project = project
        self._traceparent = traceparent
        self._asked = False

    async def before_sending(self) -> None:
        if self._asked:
            return
        self._asked = True
        request = task_service_pb2.ValidateTaskRequest(task=self._task)
        if self._project is not None and self._project.ByteSize() <= MOST_DESCRIBED_BYTES:
            request.project.CopyFrom(self._project)
        try:
            method = self._channel.tasks.ValidateTask
            await self._channel.unary(method, request, retry=True, traceparent=self._traceparent)
        except LongshoreError as error:
            # An older server does not know the call, and says what is wrong when the task is created.
            if error.code != "UNIMPLEMENTED" or error.reason:
                raise
