"""Inputs of a task: data placed read-only below the workspace before the run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from longshore.v1 import blob_service_pb2, task_pb2

from .errors import BadSource, SourceProblem
from .options import ArtifactInput, ArtifactSource, BlobInput, FileInput
from .upload_source import UploadSource, file_source, why_unreadable

# Told the field and what is wrong with it.
Wrong = Callable[[str, str], None]


def list_inputs(given: Any) -> list[Any]:
    """The sources of a mapping as a list, each with its path; a list as it is."""
    if not isinstance(given, Mapping):
        return list(given or ())
    return [_of(path, source) for path, source in given.items()]


def _of(path: str, source: Any) -> Any:
    if isinstance(source, (str, os.PathLike)):
        return FileInput(path, source)
    if isinstance(source, blob_service_pb2.Blob):
        return BlobInput(path, source.sha256)
    if isinstance(source, ArtifactSource):
        return ArtifactInput(path, source.task_id, source.artifact)
    return source


def messages_of(given: Any, wrong: Wrong) -> Iterator[task_pb2.Input]:
    """As the request has them; a file has no digest before it is read."""
    if isinstance(given, (str, bytes)):
        wrong("inputs", "must map paths to their sources, such as {'data/train.csv': 'train.csv'}")
        return
    for index, item in enumerate(list_inputs(given)):
        if isinstance(item, FileInput):
            yield task_pb2.Input(path=item.path, blob_sha256="")
        elif isinstance(item, BlobInput):
            yield task_pb2.Input(path=item.path, blob_sha256=item.blob_sha256)
        elif isinstance(item, ArtifactInput):
            reference = task_pb2.ArtifactRef(task_id=item.task_id, path=item.artifact)
            yield task_pb2.Input(path=item.path, artifact=reference)
        else:
            wrong(
                f"inputs[{index}]", "must be a file's path, a Blob, or an artifact such as task.artifact('model.bin')"
            )


@dataclass(frozen=True)
class OpenedFile:
    """A file among the inputs, and its place there."""

    index: int
    name: str
    source: UploadSource


def open_files(given: Any) -> list[OpenedFile]:
    """Reads the files among the inputs; all that cannot be read are named at once."""
    found: list[OpenedFile] = []
    problems: list[SourceProblem] = []
    for index, item in enumerate(list_inputs(given)):
        if not isinstance(item, FileInput):
            continue
        try:
            name = os.path.basename(os.fspath(item.file))
            found.append(OpenedFile(index, name, file_source(item.file, "raw")))
        except (OSError, ValueError) as error:
            reason = why_unreadable(error)
            problems.append(SourceProblem(os.fspath(item.file), f"cannot be read as input {item.path}: {reason}"))
    if problems:
        raise BadSource("inputs", problems)
    return found
