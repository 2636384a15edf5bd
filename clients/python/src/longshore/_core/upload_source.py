"""Bytes that can be read from any place, more than once."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from longshore.v1 import task_service_pb2

from .errors import BadSource, SourceProblem
from .options import BlobFormatName

# The most the server takes in one message, and the fastest size measured.
CHUNK_BYTES = 2**20


def _nothing() -> None:
    """Most sources leave nothing on disk."""


@dataclass(frozen=True)
class UploadSource:
    """Bytes to upload, with their digest; `close` removes what was made for them."""

    sha256: str
    size_bytes: int
    format: BlobFormatName
    open: Callable[[], BinaryIO]
    close: Callable[[], None] = _nothing
    # What the server is told of a project before it is sent; None where it was not packed here.
    project: task_service_pb2.ProjectDescription | None = None

    @staticmethod
    def of_file(
        path: str,
        format: BlobFormatName,
        sha256: str,
        size_bytes: int,
        close: Callable[[], None] = _nothing,
        project: task_service_pb2.ProjectDescription | None = None,
    ) -> UploadSource:
        return UploadSource(sha256, size_bytes, format, lambda: open(path, "rb", buffering=0), close, project)

    @staticmethod
    def of_bytes(content: bytes, format: BlobFormatName) -> UploadSource:
        return UploadSource(hashlib.sha256(content).hexdigest(), len(content), format, lambda: io.BytesIO(content))

    def read(self, offset: int) -> Iterator[bytes]:
        """Chunks from `offset` on."""
        with self.open() as file:
            file.seek(offset)
            while chunk := file.read(CHUNK_BYTES):
                yield chunk


def file_source(path: str | os.PathLike[str], format: BlobFormatName) -> UploadSource:
    """A file as it is: read once for its digest, and again for what the server lacks."""
    digest = hashlib.sha256()
    size = 0
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return UploadSource.of_file(os.fspath(path), format, digest.hexdigest(), size)


def open_file(path: str | os.PathLike[str], format: BlobFormatName) -> UploadSource:
    """The same for a file that a caller named. Raises BadSource."""
    try:
        return file_source(path, format)
    except (OSError, ValueError) as error:
        name = os.fspath(path)
        raise BadSource(name, [SourceProblem(name, f"cannot be read: {why_unreadable(error)}")]) from error


def why_unreadable(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) and error.strerror else str(error)).lower()
