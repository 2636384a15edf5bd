# Made of ../_async/pictures.py by scripts/generate; never edited.
"""Streams without an end whose every message is the whole picture."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeVar

from .._core.backoff import Backoff
from .._core.errors import ConnectionLost, LongshoreError, is_connection_loss
from .channel import Channel
from .runtime import sleep
from .watch import FIRST_CONNECT

Response = TypeVar("Response")

# Told each time the connection was lost, before it is tried again.
ReconnectCallback = Callable[[Exception], None]


def follow_pictures(
    channel: Channel,
    method: Callable[..., Any],
    request: Any,
    response: type[Response],
    on_reconnect: ReconnectCallback | None,
    reconnect_for: float,
) -> Generator[Response, None, None]:
    """Asks again after a lost connection: every stream begins with all there is."""
    first = Backoff(FIRST_CONNECT)
    again = Backoff(reconnect_for)
    seen = False
    while True:
        try:
            with channel.server_stream(method, request, response) as stream:
                for picture in stream:
                    seen = True
                    again.reset()
                    yield picture
            raise ConnectionLost("the server ended the stream", code="UNAVAILABLE")
        except LongshoreError as error:
            if not is_connection_loss(error):
                raise
            delay = (again if seen else first).next_delay(error)
            if seen and on_reconnect is not None:
                on_reconnect(error)
            sleep(delay)
