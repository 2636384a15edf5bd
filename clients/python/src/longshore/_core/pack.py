"""A project as the tar that is uploaded."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from typing import BinaryIO

from longshore.v1 import task_service_pb2

from .errors import BadSource, SourceProblem
from .options import Progress, ProgressCallback
from .tar_writer import END, header_of, padding
from .upload_source import CHUNK_BYTES, UploadSource
from .walk import WalkedEntry, walk_folder

# The server takes far fewer lines.
MOST_REQUIREMENTS_BYTES = 2**19


def pack_folder(
    folder: str, on_progress: ProgressCallback | None = None, extra: Mapping[str, bytes] | None = None
) -> UploadSource:
    """Packs a folder as a plain tar into a temporary file, which closing the source removes.

    The same files give the same bytes on every machine (names sorted; owners, times and all of the mode but "executable"
    fixed), so that a project sent before is not sent again. Not compressed: the bytes of a compressor change with its
    version. `extra` adds files of ours under names that the folder must not have.
    """
    entries = walk_folder(folder)
    taken = [entry.path for entry in entries if entry.path in (extra or {})]
    if taken:
        problems = [SourceProblem(path, "is a name that Longshore needs for itself; rename it") for path in taken]
        raise BadSource(folder, problems)
    return _pack(folder, entries, on_progress, extra or {})


def pack_file(file: str, name: str, on_progress: ProgressCallback | None = None) -> UploadSource:
    """Packs one file alone, under `name`."""
    return _pack(file, [WalkedEntry(name, file, is_folder=False, executable=False)], on_progress, {})


def _pack(
    source: str,
    entries: Sequence[WalkedEntry],
    on_progress: ProgressCallback | None,
    extra: Mapping[str, bytes],
) -> UploadSource:
    folder = tempfile.mkdtemp(prefix="longshore-")
    try:
        path = os.path.join(folder, "project.tar")
        with open(path, "xb", opener=_private) as output:
            tar = _TarFile(output, source, on_progress)
            for entry in entries:
                tar.add(entry)
            for name in sorted(extra):
                tar.add_bytes(name, extra[name])
            tar.finish()
        project = tar.describe(entries, extra)
        return UploadSource.of_file(path, "tar", tar.sha256, tar.size, lambda: shutil.rmtree(folder), project)
    except BaseException:
        shutil.rmtree(folder)
        raise


def _is_requirements(entry: WalkedEntry) -> bool:
    if entry.is_folder or os.path.basename(entry.path) != "requirements.txt":
        return False
    return os.stat(entry.file).st_size <= MOST_REQUIREMENTS_BYTES


def _read(entry: WalkedEntry) -> task_service_pb2.ProjectFile:
    with open(entry.file, "rb") as file:
        return task_service_pb2.ProjectFile(path=entry.path, content=file.read())


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class _TarFile:
    def __init__(self, output: BinaryIO, source: str, on_progress: ProgressCallback | None) -> None:
        self.size = 0
        self._output = output
        self._source = source
        self._hash = hashlib.sha256()
        self._on_progress = on_progress
        self._files = 0
        self._bytes = 0

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def add(self, entry: WalkedEntry) -> None:
        if entry.is_folder:
            self._write(header_of(entry.path, is_folder=True, executable=True))
            return
        try:
            with open(entry.file, "rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                self._write(header_of(entry.path, is_folder=False, executable=entry.executable, size=size))
                self._copy(entry.path, file, size)
        except OSError as error:
            raise self._refusal(entry.path, f"cannot be read: {error.strerror}") from error
        self._write(padding(size))
        self._report(size)

    def add_bytes(self, name: str, content: bytes) -> None:
        self._write(header_of(name, is_folder=False, executable=False, size=len(content)))
        self._write(content + padding(len(content)))
        self._report(len(content))

    def describe(
        self, entries: Sequence[WalkedEntry], extra: Mapping[str, bytes]
    ) -> task_service_pb2.ProjectDescription:
        return task_service_pb2.ProjectDescription(
            files=[*(entry.path for entry in entries if not entry.is_folder), *sorted(extra)],
            folders=[entry.path for entry in entries if entry.is_folder],
            content_bytes=self._bytes,
            archive_bytes=self.size,
            requirements=[_read(entry) for entry in entries if _is_requirements(entry)],
        )

    def finish(self) -> None:
        self._write(END)
        self._output.flush()
        if self._on_progress is not None:
            self._on_progress(Progress("packing", self._bytes, done=True, files=self._files))

    def _copy(self, path: str, file: BinaryIO, size: int) -> None:
        """Copies exactly the size that the header promised: a file may change while it is read."""
        left = size
        while left > 0:
            chunk = file.read(min(CHUNK_BYTES, left))
            if not chunk:
                break
            self._write(chunk)
            left -= len(chunk)
        if left > 0 or os.fstat(file.fileno()).st_size != size:
            raise self._refusal(path, "changed while it was packed; try again")

    def _refusal(self, path: str, problem: str) -> BadSource:
        return BadSource(self._source, [SourceProblem(path, problem)])

    def _report(self, size: int) -> None:
        self._files += 1
        self._bytes += size
        if self._on_progress is not None:
            self._on_progress(Progress("packing", self._bytes, done=False, files=self._files))

    def _write(self, data: bytes) -> None:
        self._output.write(data)
        self._hash.update(data)
        self.size += len(data)
