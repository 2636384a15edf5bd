"""A download on its way to its place on disk."""

from __future__ import annotations

import hashlib
import os
from types import TracebackType

from .errors import DigestMismatch, LongshoreError

_BLOCK = 2**20


class DownloadFile:
    """Writes to a hidden file beside `destination`, which appears only when it is complete and its digest is right.

    What arrived before an interruption stays there under a name made of the digest, and the next try goes on there.
    """

    def __init__(self, destination: str, sha256: str, size_bytes: int) -> None:
        self.position = 0
        self.size_bytes = size_bytes
        self._destination = destination
        self._sha256 = sha256
        self._hash = hashlib.sha256()
        name = f".{os.path.basename(destination)[:100]}.{sha256[:16]}.partial"
        self._partial = os.path.join(os.path.dirname(destination), name)
        # Never through a link, whoever put it there.
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        self._file = open(os.open(self._partial, flags, 0o644), "r+b", buffering=0)

    def __enter__(self) -> DownloadFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def digest_existing(self) -> None:
        """Digests what an earlier try left, at most as much as there should be."""
        if os.fstat(self._file.fileno()).st_size > self.size_bytes:
            self._file.truncate(0)
        while chunk := self._file.read(_BLOCK):
            self._hash.update(chunk)
            self.position += len(chunk)

    def write(self, offset: int, chunk: bytes) -> None:
        if offset != self.position or self.position + len(chunk) > self.size_bytes:
            raise self.misplaced()
        written = 0
        while written < len(chunk):
            written += self._file.write(chunk[written:]) or 0
        self._hash.update(chunk)
        self.position += len(chunk)

    def misplaced(self) -> LongshoreError:
        return LongshoreError(
            f"the server's bytes do not go on at {self.position} of {self.size_bytes}",
            code="DATA_LOSS",
            reason="DIGEST_MISMATCH",
        )

    def finish(self) -> None:
        """Puts the file in its place, or removes it when its digest is wrong."""
        digest = self._hash.hexdigest()
        if digest != self._sha256:
            os.unlink(self._partial)
            raise DigestMismatch(
                f"{self._destination} was not written: the bytes that arrived have the sha256 {digest}, not {self._sha256}",
                code="DATA_LOSS",
                reason="DIGEST_MISMATCH",
            )
        os.replace(self._partial, self._destination)
