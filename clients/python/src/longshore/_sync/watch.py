# Made of ../_async/watch.py by scripts/generate; never edited.
"""Follows a task across lost connections and restarts of the server, without losing or repeating a byte."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass

from longshore.v1 import task_service_pb2

from .._core.backoff import Backoff
from .._core.errors import ConnectionLost, LongshoreError, is_connection_loss
from .._core.events import TaskEvent, WatchState
from .channel import Channel
from .runtime import sleep

# A server sends a heartbeat every 15 s: one that is silent for longer than this is gone, whatever the socket says.
SILENCE = 60.0
FIRST_CONNECT = 3.0
RECONNECT = 300.0


@dataclass(frozen=True)
class WatchOptions:
    cursor: str = ""
    logs: bool = True
    follow: bool = True
    tail_bytes: int = 0
    on_reconnect: Callable[[Exception], None] | None = None
    reconnect_for: float = RECONNECT


def watch_task(channel: Channel, task_id: str, options: WatchOptions) -> Generator[TaskEvent, None, None]:
    state = WatchState(options.cursor)
    first = Backoff(FIRST_CONNECT)
    again = Backoff(options.reconnect_for)
    seen = False
    while True:
        request = _request(task_id, state.cursor, options)
        try:
            with channel.server_stream(
                channel.tasks.WatchTask, request, task_service_pb2.WatchTaskResponse, SILENCE
            ) as stream:
                for message in stream:
                    seen = True
                    again.reset()
                    event = state.take(message.event)
                    if event is not None:
                        yield event
            # A server that stops ends its streams in good order; only the terminal record says that nothing more will come.
            if state.terminal is None and options.follow:
                raise ConnectionLost("the server ended the stream before the task ended", code="UNAVAILABLE")
        except LongshoreError as error:
            if not is_connection_loss(error):
                raise
            delay = (again if seen else first).next_delay(error)
            if seen and options.on_reconnect is not None:
                options.on_reconnect(error)
            sleep(delay)
        else:
            break
    if state.terminal is not None:
        yield state.terminal


def _request(task_id: str, cursor: str, options: WatchOptions) -> task_service_pb2.WatchTaskRequest:
    return task_service_pb2.WatchTaskRequest(
        id=task_id,
        cursor=cursor,
        no_follow=not options.follow,
        tail_bytes=0 if cursor else options.tail_bytes,
        no_logs=not options.logs,
    )
