"""Makes the server have a program and what goes along, and creates its task."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Sequence

from longshore.v1 import blob_service_pb2, task_pb2, task_service_pb2

from .._core.inputs import OpenedFile, open_files
from .._core.options import BlobFormatName, SubmitOptions, SubmitStreamOptions, naming
from .._core.source import OpenProgram
from .._core.spec import request_of
from .._core.terminal import progress_shown
from .._core.upload_source import CHUNK_BYTES
from .channel import Channel
from .runtime import in_thread
from .upload import format_of, upload_blob
from .validate import Validation


async def submit(channel: Channel, opening: OpenProgram, options: SubmitOptions, progress: bool) -> task_pb2.Task:
    request = request_of(options)
    direct = options.get("direct", False)
    with progress_shown(options.get("on_progress"), progress) as on_progress:
        program = await in_thread(opening, on_progress)
        try:
            request.display_name = request.display_name or program.name
            request.code, request.archive_sha256 = program.code, program.sha256
            if program.archive is not None:
                request.entrypoint = request.entrypoint or program.entrypoint
                request.archive_sha256 = program.archive.sha256
            files = await in_thread(open_files, options.get("inputs"))
            _name(files, request)
            project = program.archive.project if program.archive is not None else None
            validation = Validation(channel, request, project, options.get("traceparent", ""))
            if program.archive is not None:
                await upload_blob(channel, program.archive, on_progress, direct, validation)
            for file in files:
                await upload_blob(channel, file.source, naming(file.name, on_progress), direct, validation)
        finally:
            program.close()
    # Safe to repeat: the request_id makes the second one answer the first task.
    method, traceparent = channel.tasks.CreateTask, options.get("traceparent", "")
    answer = await channel.unary(method, request, retry=True, traceparent=traceparent)
    return answer.task


async def submit_stream(
    channel: Channel, archive: AsyncIterable[bytes], format: BlobFormatName | None, options: SubmitStreamOptions
) -> task_pb2.Task:
    request = request_of(options)
    files = await in_thread(open_files, options.get("inputs"))
    _name(files, request)
    for file in files:
        await upload_blob(channel, file.source, None)
    header = blob_service_pb2.UploadHeader(format=format_of(format))

    async def messages() -> AsyncIterator[task_service_pb2.SubmitTaskRequest]:
        first = task_service_pb2.SubmitTaskRequest.Header(task=request, archive=header)
        yield task_service_pb2.SubmitTaskRequest(header=first)
        async for part in archive:
            for at in range(0, len(part), CHUNK_BYTES):
                yield task_service_pb2.SubmitTaskRequest(chunk=part[at : at + CHUNK_BYTES])

    method, response = channel.tasks.SubmitTask, task_service_pb2.SubmitTaskResponse
    answer = await channel.client_stream(method, messages(), response, options.get("traceparent", ""))
    return answer.task


def _name(files: Sequence[OpenedFile], request: task_pb2.CreateTaskRequest) -> None:
    """By their digests, whether or not the server has them by now."""
    for file in files:
        request.inputs[file.index].blob_sha256 = file.source.sha256
