"""What a watch tells, and where it stands over all its connections."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, cast

from longshore.v1 import task_pb2, task_service_pb2

from .names import stream_name
from .options import LogStream
from .outcome import is_terminal


@dataclass(frozen=True)
class _Event:
    # A watch with it goes on after this event.
    cursor: str
    time: datetime.datetime | None


@dataclass(frozen=True)
class TaskChanged(_Event):
    """The state, the wait or a stage changed. The record of a task that has ended is the last event of a watch."""

    kind: ClassVar[Literal["task"]] = "task"
    task: task_pb2.Task


@dataclass(frozen=True)
class LogEvent(_Event):
    """Output, as bytes; `offset` is the place of the first byte in the stream of that attempt."""

    kind: ClassVar[Literal["log"]] = "log"
    stream: LogStream
    data: bytes
    attempt: int
    offset: int


@dataclass(frozen=True)
class GapEvent(_Event):
    """Output that is kept nowhere: over the budget or expired. Reading slowly never causes one."""

    kind: ClassVar[Literal["gap"]] = "gap"
    stream: LogStream
    dropped_bytes: int
    attempt: int


@dataclass(frozen=True)
class HeartbeatEvent(_Event):
    """Nothing happened for a while."""

    kind: ClassVar[Literal["heartbeat"]] = "heartbeat"


TaskEvent = TaskChanged | LogEvent | GapEvent | HeartbeatEvent


class WatchState:
    """Where a watch stands: what it was told already is told once."""

    def __init__(self, cursor: str) -> None:
        self.cursor = cursor
        # Kept back until all output is out: a watch of an ended task begins with it.
        self.terminal: TaskChanged | None = None
        self._expected: dict[tuple[int, str], int] = {}
        self._latest = b""

    def take(self, message: task_service_pb2.TaskEvent) -> TaskEvent | None:
        event = self._read(message)
        if message.cursor:
            self.cursor = message.cursor
        return event

    def _read(self, message: task_service_pb2.TaskEvent) -> TaskEvent | None:
        cursor = message.cursor
        time = message.time.ToDatetime(datetime.timezone.utc) if message.HasField("time") else None
        kind = message.WhichOneof("event")
        if kind == "task":
            return self._changed(TaskChanged(cursor, time, message.task))
        if kind == "log":
            chunk = message.log
            data = chunk.data or chunk.text.encode()
            return self._fresh(LogEvent(cursor, time, _stream(chunk.stream), data, chunk.attempt, chunk.offset_bytes))
        if kind == "gap":
            gap = message.gap
            return GapEvent(cursor, time, _stream(gap.stream), gap.dropped_bytes, gap.attempt)
        # None is an event of a newer server.
        return HeartbeatEvent(cursor, time) if kind == "heartbeat" else None

    def _changed(self, event: TaskChanged) -> TaskChanged | None:
        """Every connection begins with the present record; one that says nothing new is no event."""
        if is_terminal(event.task):
            self.terminal = event
            return None
        content = event.task.SerializeToString(deterministic=True)
        if content == self._latest:
            return None
        self._latest = content
        return event

    def _fresh(self, event: LogEvent) -> LogEvent | None:
        """The part of a chunk that was not seen before."""
        key = (event.attempt, event.stream)
        expected = self._expected.get(key, 0)
        end = event.offset + len(event.data)
        if end <= expected:
            return None
        self._expected[key] = end
        seen = max(0, expected - event.offset)
        return replace(event, data=event.data[seen:], offset=event.offset + seen) if seen else event


def _stream(stream: int) -> LogStream:
    return cast(LogStream, stream_name(stream))
