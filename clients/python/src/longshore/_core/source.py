"""What to run, made ready to send."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass

from .errors import BadSource, FieldViolation, InvalidRequest, SourceProblem
from .options import BlobFormatName, PathLike, ProgressCallback
from .pack import pack_file, pack_folder
from .upload_source import UploadSource, file_source

# A larger Python file goes as a project, since a snippet is part of the task's record.
MOST_CODE_BYTES = 256 * 1024

_ARCHIVES: tuple[tuple[str, BlobFormatName], ...] = (
    (".zip", "zip"),
    (".tar", "tar"),
    (".tar.gz", "tar.gz"),
    (".tgz", "tar.gz"),
)


@dataclass(frozen=True)
class Program:
    """A source made ready: code, the digest of what the server has, bytes to upload, or nothing but a command."""

    name: str = ""
    code: str = ""
    sha256: str = ""
    archive: UploadSource | None = None
    entrypoint: str = ""

    def close(self) -> None:
        if self.archive is not None:
            self.archive.close()


def open_program(
    source: PathLike | UploadSource | None, code: str | None, sha256: str | None, on_progress: ProgressCallback | None
) -> Program:
    """Reads or packs a source; closing the answer removes what packing left on disk."""
    given = [
        name for name, value in (("source", source), ("code", code), ("archive_sha256", sha256)) if value is not None
    ]
    if len(given) > 1:
        raise InvalidRequest([FieldViolation(name, f"give one of {' and '.join(given)}") for name in given])
    if code is not None:
        return Program(code=code)
    if sha256 is not None:
        return Program(sha256=sha256)
    if isinstance(source, UploadSource):
        return Program(archive=source)
    return Program() if source is None else _open_path(os.fspath(source), on_progress)


def _open_path(path: str, on_progress: ProgressCallback | None) -> Program:
    name = os.path.basename(os.path.abspath(path))
    found = _stat(path)
    if stat.S_ISDIR(found.st_mode):
        return Program(name, archive=pack_folder(path, on_progress))
    if not stat.S_ISREG(found.st_mode):
        raise BadSource(path, [SourceProblem(path, "is neither a file nor a folder")])
    for ending, format in _ARCHIVES:
        if name.lower().endswith(ending):
            return Program(name, archive=file_source(path, format))
    if not name.lower().endswith(".py"):
        problem = "is no Python file, folder or archive (.py, .zip, .tar, .tar.gz, .tgz)"
        raise BadSource(path, [SourceProblem(path, problem)])
    return _open_script(path, name, found.st_size, on_progress)


def _stat(path: str) -> os.stat_result:
    try:
        return os.stat(path)
    except FileNotFoundError as error:
        problem = "there is no such file or folder; source code itself is given as code=..."
        raise BadSource(_short(path), [SourceProblem(_short(path), problem)]) from error
    except (OSError, ValueError) as error:  # too long, or with a NUL: code that was given as a path
        problem = f"cannot be opened ({error}); source code itself is given as code=..."
        raise BadSource(_short(path), [SourceProblem(_short(path), problem)]) from error


def _short(path: str) -> str:
    return path if len(path) <= 200 else f"{path[:200]}..."


def _open_script(path: str, name: str, size: int, on_progress: ProgressCallback | None) -> Program:
    """A Python file goes as a snippet where that is the same: small, and UTF-8, which Python takes a snippet to be."""
    if size <= MOST_CODE_BYTES:
        with open(path, "rb") as file:
            content = file.read()
        try:
            return Program(name, code=content.decode("utf-8"))
        except UnicodeDecodeError:
            pass  # another encoding, declared in the file itself: it goes as bytes
    return Program(name, archive=pack_file(path, name, on_progress), entrypoint=name)


# What makes a program out of a source; another one packs a function's project.
OpenProgram = Callable[[ProgressCallback | None], Program]
