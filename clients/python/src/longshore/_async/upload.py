"""Makes the server have the bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator

from longshore.v1 import blob_service_pb2

from .._core.backoff import Backoff
from .._core.direct import put
from .._core.errors import (
    BadArchive,
    FieldViolation,
    InvalidRequest,
    LongshoreError,
    UploadInProgress,
    WrongOffset,
    is_connection_loss,
)
from .._core.options import BlobFormatName, Progress, ProgressCallback
from .._core.store_addresses import upload_url_request
from .._core.upload_source import UploadSource
from .channel import Channel
from .runtime import in_thread, sleep
from .validate import Validation

# How long an upload goes on trying without getting any further, in seconds.
GIVE_UP = 60.0

# Of an address of the store itself, in seconds: long enough for whatever one request may carry.
LIFETIME = 3600

# Between questions about an upload that is being checked, in seconds.
CHECKING = 0.5

_FORMATS: dict[BlobFormatName, blob_service_pb2.BlobFormat.ValueType] = {
    "raw": blob_service_pb2.BLOB_FORMAT_RAW,
    "tar": blob_service_pb2.BLOB_FORMAT_TAR,
    "tar.gz": blob_service_pb2.BLOB_FORMAT_TAR_GZ,
    "zip": blob_service_pb2.BLOB_FORMAT_ZIP,
}


def format_of(name: BlobFormatName | None) -> blob_service_pb2.BlobFormat.ValueType:
    """How the server is to read the bytes; it looks at their beginning where nothing is said. Raises InvalidRequest."""
    if name is None:
        return blob_service_pb2.BLOB_FORMAT_UNSPECIFIED
    if name not in _FORMATS:
        raise InvalidRequest([FieldViolation("format", f"{name!r} is not one of {', '.join(_FORMATS)}")])
    return _FORMATS[name]


async def get_blob(channel: Channel, sha256: str) -> blob_service_pb2.Blob:
    """What the server has of a digest."""
    request = blob_service_pb2.GetBlobRequest(sha256=sha256)
    answer = await channel.unary(channel.blobs.GetBlob, request, retry=True)
    return answer.blob


async def upload_blob(
    channel: Channel,
    source: UploadSource,
    on_progress: ProgressCallback | None,
    direct: bool = False,
    validation: Validation | None = None,
) -> blob_service_pb2.Blob:
    """Sends nothing that is there, and goes on where a lost connection left off."""
    backoff = Backoff(GIVE_UP)
    upload: _Upload | None = None
    committed = 0
    while True:
        blob = await get_blob(channel, source.sha256)
        if blob.state == blob_service_pb2.Blob.STATE_REFUSED:
            raise BadArchive(
                blob.refusal, code="INVALID_ARGUMENT", reason="BAD_ARCHIVE", metadata={"sha256": blob.sha256}
            )
        if blob.state == blob_service_pb2.Blob.STATE_CHECKING:
            await sleep(CHECKING)
            continue
        before, committed = committed, _committed(blob, source)
        upload = upload or _Upload(channel, source, on_progress, committed)
        stored = blob.state == blob_service_pb2.Blob.STATE_STORED
        upload.report(committed, done=stored)
        if stored:
            return blob
        if validation is not None:
            await validation.before_sending()
        if committed > before:
            backoff.reset()
        try:
            if direct and committed == 0:
                went = await upload.put_directly()
                # Once: what becomes of it is asked for next, and what does not arrive goes the usual way.
                direct = False
                if went:
                    continue
            return await upload.send_from(committed)
        except LongshoreError as error:
            # The stream that "is in progress" may be our own, whose end the server has not noticed yet.
            if not is_connection_loss(error) and not isinstance(error, (WrongOffset, UploadInProgress)):
                raise
            await sleep(backoff.next_delay(error))


def _committed(blob: blob_service_pb2.Blob, source: UploadSource) -> int:
    if blob.state == blob_service_pb2.Blob.STATE_STORED:
        return source.size_bytes
    return blob.committed_bytes if blob.state == blob_service_pb2.Blob.STATE_PARTIAL else 0


class _Upload:
    def __init__(
        self, channel: Channel, source: UploadSource, on_progress: ProgressCallback | None, stored_before: int
    ) -> None:
        self._channel = channel
        self._source = source
        self._on_progress = on_progress
        self._stored_before = stored_before

    def report(self, sent: int, *, done: bool) -> None:
        if self._on_progress is not None:
            total, before = self._source.size_bytes, self._stored_before
            self._on_progress(Progress("uploading", sent, done, total_bytes=total, stored_before=before))

    async def send_from(self, offset: int) -> blob_service_pb2.Blob:
        answer = await self._channel.client_stream(
            self._channel.blobs.UploadBlob, self._messages(offset), blob_service_pb2.UploadBlobResponse
        )
        self.report(self._source.size_bytes, done=True)
        return answer.blob

    async def put_directly(self) -> bool:
        """Sends all of it to an address of the store itself; False where the server's store has none."""
        source = self._source
        request = upload_url_request(source.sha256, source.size_bytes, format_of(source.format), LIFETIME)
        try:
            address = await self._channel.unary(self._channel.blobs.CreateUploadUrl, request, retry=True)
        except LongshoreError as error:
            if error.code != "UNIMPLEMENTED":
                raise
            return False
        await in_thread(put, address.url, address.headers, source, self._sent)
        return True

    def _sent(self, sent: int) -> None:
        self.report(sent, done=False)

    async def _messages(self, offset: int) -> AsyncIterator[blob_service_pb2.UploadBlobRequest]:
        source = self._source
        header = blob_service_pb2.UploadHeader(
            sha256=source.sha256,
            size_bytes=source.size_bytes,
            offset_bytes=offset,
            format=format_of(source.format),
        )
        yield blob_service_pb2.UploadBlobRequest(header=header)
        sent = offset
        chunks = source.read(offset)
        while chunk := await in_thread(next, chunks, b""):
            yield blob_service_pb2.UploadBlobRequest(chunk=chunk)
            sent += len(chunk)
            self.report(sent, done=False)
