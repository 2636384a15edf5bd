# Made of ../_async/artifacts.py by scripts/generate; never edited.
"""The files that a task left behind."""

from __future__ import annotations

import builtins
import os
import tempfile
from collections.abc import Callable, Generator

from longshore.v1 import task_pb2, task_service_pb2

from .._core.artifact_paths import make_place, prepare_folder
from .._core.errors import LongshoreError, NotFound
from .._core.options import PathLike
from .channel import Channel, ServerStream
from .download import BytesCallback, download_to
from .runtime import in_thread


class Artifacts:
    """What a task left behind: `task.artifacts`."""

    def __init__(self, channel: Channel, task_id: str) -> None:
        self._channel = channel
        self._task_id = task_id

    def list(self) -> Generator[task_pb2.Artifact, None, None]:
        """All of them, by path; each has `path`, `size_bytes` and `sha256`."""
        token = ""
        while True:
            request = task_service_pb2.ListArtifactsRequest(task_id=self._task_id, page_size=1000, page_token=token)
            page = self._channel.unary(self._channel.tasks.ListArtifacts, request, retry=True)
            for artifact in page.artifacts:
                yield artifact
            token = page.next_page_token
            if not token:
                return

    def download(self, path: str, destination: PathLike, on_progress: BytesCallback | None = None) -> None:
        """Writes one artifact to the file `destination`, replacing what is there; its digest is checked first.

        A lost connection is waited out. Raises NotFound when the task has no such artifact.
        """
        artifact = self._find(path)
        target = os.path.abspath(os.fspath(destination))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        self._fetch(artifact, target, on_progress)

    def read(self, path: str, most_bytes: int = 64 * 2**20) -> bytes:
        """The content of one artifact. Raises NotFound, and LongshoreError when it is larger than `most_bytes`."""
        artifact = self._find(path)
        if artifact.size_bytes > most_bytes:
            raise LongshoreError(
                f"artifact {path} has {artifact.size_bytes} bytes, more than {most_bytes}; download it to a file instead",
                code="OUT_OF_RANGE",
                reason="ARTIFACT_TOO_LARGE",
            )
        with tempfile.TemporaryDirectory(prefix="longshore-") as folder:
            target = os.path.join(folder, "artifact")
            self._fetch(artifact, target, None)
            with open(target, "rb") as file:
                return file.read()

    def download_all(
        self,
        folder: PathLike,
        filter: Callable[[task_pb2.Artifact], bool] | None = None,
        on_progress: Callable[[task_pb2.Artifact, int], None] | None = None,
    ) -> builtins.list[task_pb2.Artifact]:
        """Writes every artifact (for which `filter` answers true) below `folder` and answers what was written.

        `on_progress` is told of each file how many of its bytes are there, before it begins and as they come. Raises UnsafeArtifactPath, with nothing written, when one of them would lie outside.
        """
        wanted = [artifact for artifact in self.list() if filter is None or filter(artifact)]
        root = in_thread(prepare_folder, os.fspath(folder), [artifact.path for artifact in wanted])
        for artifact in wanted:
            self._fetch(artifact, make_place(root, artifact.path), _of(artifact, on_progress))
        return wanted

    def _find(self, path: str) -> task_pb2.Artifact:
        for artifact in self.list():
            if artifact.path == path:
                return artifact
        raise NotFound(f"task {self._task_id} has no artifact {path}", resource_type="artifact", resource_name=path)

    def _fetch(self, artifact: task_pb2.Artifact, target: str, on_progress: BytesCallback | None) -> None:
        def open_at(offset: int) -> ServerStream[task_service_pb2.DownloadArtifactResponse]:
            reference = task_pb2.ArtifactRef(task_id=self._task_id, path=artifact.path)
            request = task_service_pb2.DownloadArtifactRequest(artifact=reference, offset_bytes=offset)
            method = self._channel.tasks.DownloadArtifact
            return self._channel.server_stream(method, request, task_service_pb2.DownloadArtifactResponse)

        download_to(target, artifact.sha256, artifact.size_bytes, open_at, on_progress)


def _of(
    artifact: task_pb2.Artifact, on_progress: Callable[[task_pb2.Artifact, int], None] | None
) -> BytesCallback | None:
    return None if on_progress is None else lambda there, total: on_progress(artifact, there)
