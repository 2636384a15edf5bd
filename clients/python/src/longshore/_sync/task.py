# Made of ../_async/task.py by scripts/generate; never edited.
"""A task on the server."""

from __future__ import annotations

from collections.abc import Callable, Generator

from typing_extensions import Unpack

from longshore.v1 import task_pb2, task_service_pb2

from .._core.errors import LongshoreError, TaskFailed
from .._core.events import LogEvent, TaskChanged, TaskEvent
from .._core.lines import LineJoiner
from .._core.options import ArtifactSource, LogStream, RerunOptions, TimeSpan, ViewName
from .._core.outcome import TaskOutcome, is_terminal, outcome_of
from .._core.spec import rerun_of
from .._core.task_query import cancel_request, get_request
from .._core.usage import Money, money_of
from .artifacts import Artifacts
from .channel import Channel
from .runtime import closing
from .watch import RECONNECT, WatchOptions, watch_task

EventCallback = Callable[[TaskEvent], None]


class Task:
    """A task on the server. Dropping the handle changes nothing there."""

    def __init__(self, channel: Channel, task_id: str, record: task_pb2.Task | None = None) -> None:
        self.id = task_id
        self.artifacts = Artifacts(channel, task_id)
        self._channel = channel
        self._latest = record

    def __repr__(self) -> str:
        return f"<longshore.Task {self.id}>"

    @property
    def latest(self) -> task_pb2.Task | None:
        """The record as this handle last saw it: at its creation, by get, wait, result or cancel."""
        return self._latest

    @property
    def outcome(self) -> TaskOutcome | None:
        """How the task ended, once this handle has seen it end."""
        return None if self._latest is None or not is_terminal(self._latest) else outcome_of(self._latest)

    @property
    def cost(self) -> Money | None:
        """What the task has cost so far, as this handle last saw it (`get` looks again); None where nothing has a price."""
        record = self._latest
        return money_of(record.cost) if record is not None and record.HasField("cost") else None

    @property
    def cached_from(self) -> str:
        """Id of the task whose result answered this one; empty while this handle has not seen that, and for a task that runs."""
        return "" if self._latest is None else self._latest.cached_from

    def artifact(self, path: str) -> ArtifactSource:
        """One file that the task leaves behind, as an input of another task, which then waits for this one."""
        return ArtifactSource(self.id, path)

    def get(self, view: ViewName = "full") -> task_pb2.Task:
        """Reads the record; "basic" leaves out the code, stdin and the tails of the output. Raises NotFound."""
        answer = self._channel.unary(self._channel.tasks.GetTask, get_request(self.id, view), retry=True)
        return self._keep(answer.task)

    def watch(
        self,
        cursor: str = "",
        *,
        logs: bool = True,
        follow: bool = True,
        tail_bytes: int = 0,
        on_reconnect: Callable[[Exception], None] | None = None,
        reconnect_for: float = RECONNECT,
    ) -> Generator[TaskEvent, None, None]:
        """Everything that happens, from the beginning or from after the event with `cursor`, until the task has ended.

        A lost connection or a restart of the server is waited out, for `reconnect_for` seconds (`on_reconnect` is told
        each time); no byte is lost or repeated. Leaving the loop ends the watch, never the task. `logs=False` leaves the
        output out, `follow=False` ends after what is there now, `tail_bytes` begins at the last so many bytes of each
        stream. Raises NotFound, and Unavailable when no server answers.
        """
        options = WatchOptions(cursor, logs, follow, tail_bytes, on_reconnect, reconnect_for)
        return watch_task(self._channel, self.id, options)

    def logs(
        self,
        *,
        stream: LogStream | None = None,
        follow: bool = True,
        tail_bytes: int = 0,
        on_reconnect: Callable[[Exception], None] | None = None,
        reconnect_for: float = RECONNECT,
    ) -> Generator[str, None, None]:
        """The output as lines of text with their line ends, as they are written, until the task has ended.

        `stream` takes one of "stdout", "stderr" and "build" alone. What is not UTF-8 is replaced, and a line of more than
        1 MiB comes in parts: `watch` has the bytes as they are, and tells of output that was not kept. The rest is as of `watch`.
        """
        joiner = LineJoiner()
        told = self.watch(follow=follow, tail_bytes=tail_bytes, on_reconnect=on_reconnect, reconnect_for=reconnect_for)
        with closing(told) as events:
            for event in events:
                if isinstance(event, LogEvent) and stream in (None, event.stream):
                    for line in joiner.add(event):
                        yield line
        for line in joiner.rest():
            yield line

    def wait(self, on_event: EventCallback | None = None) -> Task:
        """Waits for the end, however the task ends, and answers this handle; `on_event` is told everything until then."""
        record: task_pb2.Task | None = None
        with closing(self.watch(logs=on_event is not None)) as events:
            for event in events:
                if isinstance(event, TaskChanged):
                    record = event.task
                if on_event is not None:
                    on_event(event)
        self._keep(record)
        return self

    def result(self, *, check: bool = True, on_event: EventCallback | None = None) -> TaskOutcome:
        """Waits for the end and answers the outcome. Raises TaskFailed unless the task succeeded or `check` is false."""
        self.wait(on_event)
        outcome = self.outcome
        if outcome is None:
            raise LongshoreError("the server ended the watch without a result", code="INTERNAL")
        if check and not outcome.succeeded:
            raise TaskFailed(outcome)
        return outcome

    def cancel(self, reason: str = "", grace: TimeSpan | None = None) -> task_pb2.Task:
        """Asks for the end; the task may still be ending when this answers. Asking twice is no error.

        `reason` is for the record; `grace` lies between SIGTERM and SIGKILL, 5 s by default. Raises NotFound.
        """
        request = cancel_request(self.id, reason, grace)
        answer = self._channel.unary(self._channel.tasks.CancelTask, request, retry=True)
        return self._keep(answer.task)

    def rerun(self, **options: Unpack[RerunOptions]) -> Task:
        """Runs the same again, as a new task, with other resources or another timeout where given."""
        request = task_service_pb2.RerunTaskRequest(**rerun_of(self.id, options))
        method, traceparent = self._channel.tasks.RerunTask, options.get("traceparent", "")
        answer = self._channel.unary(method, request, retry=True, traceparent=traceparent)
        return Task(self._channel, answer.task.id, answer.task)

    def delete(self) -> None:
        """Removes the record, the output and the artifacts of a task that has ended. Raises NotFound and WrongState."""
        request = task_service_pb2.DeleteTaskRequest(id=self.id)
        # A repeated delete would answer NOT_FOUND for what the first one did.
        self._channel.unary(self._channel.tasks.DeleteTask, request, retry=False)

    def _keep(self, record: task_pb2.Task | None) -> task_pb2.Task:
        if record is None or record.id == "":
            raise LongshoreError("the server answered without a task", code="INTERNAL")
        self._latest = record
        return record
