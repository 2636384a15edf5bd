"""Brings bytes from the server to a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from .._core.backoff import Backoff
from .._core.download_file import DownloadFile
from .._core.errors import LongshoreError, is_connection_loss
from .runtime import in_thread, sleep

# How long a download goes on trying without getting any further, in seconds.
GIVE_UP = 60.0

# Told the bytes that are there and how many there will be.
BytesCallback = Callable[[int, int], None]


class Chunk(Protocol):
    """DownloadBlobResponse or DownloadArtifactResponse."""

    @property
    def offset_bytes(self) -> int: ...

    @property
    def chunk(self) -> bytes: ...


async def download_to(
    destination: str,
    sha256: str,
    size_bytes: int,
    open_at: Callable[[int], Any],
    on_progress: BytesCallback | None,
) -> None:
    """Writes a download to `destination`, going on where a lost connection left off.

    `open_at` answers a context with a stream of Chunks from an offset on.
    """
    backoff = Backoff(GIVE_UP)
    with DownloadFile(destination, sha256, size_bytes) as file:
        await in_thread(file.digest_existing)
        if on_progress is not None:
            on_progress(file.position, size_bytes)
        while file.position < size_bytes:
            try:
                async with open_at(file.position) as stream:
                    message: Chunk
                    async for message in stream:
                        await in_thread(file.write, message.offset_bytes, message.chunk)
                        if message.chunk:
                            backoff.reset()
                        if on_progress is not None:
                            on_progress(file.position, size_bytes)
                if file.position < size_bytes:
                    raise file.misplaced()
            except LongshoreError as error:
                if not is_connection_loss(error):
                    raise
                await sleep(backoff.next_delay(error))
    file.finish()
