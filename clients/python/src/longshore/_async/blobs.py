"""Bytes on the server, named by their sha256."""

from __future__ import annotations

import os
from typing import Any

from longshore.v1 import blob_service_pb2

from .._core.errors import NotFound
from .._core.options import BlobFormatName, PathLike, ProgressCallback, TimeSpan
from .._core.store_addresses import download_url_request, upload_url_request
from .._core.terminal import progress_shown
from .._core.upload_source import UploadSource, open_file
from .channel import Channel
from .direct import address_of, read_directly
from .download import BytesCallback, download_to
from .runtime import aclosing, in_thread
from .upload import format_of, get_blob, upload_blob


class Blobs:
    """Uploads and downloads of datasets and archives: `client.blobs`."""

    def __init__(self, channel: Channel, progress: bool) -> None:
        self._channel = channel
        self._progress = progress

    async def get(self, sha256: str) -> blob_service_pb2.Blob:
        """What the server has of a digest; a blob that is missing is an answer (STATE_MISSING), not an error."""
        return await get_blob(self._channel, sha256)

    async def upload(
        self,
        content: PathLike | bytes,
        format: BlobFormatName = "raw",
        on_progress: ProgressCallback | None = None,
        *,
        direct: bool = False,
    ) -> blob_service_pb2.Blob:
        """Uploads a file (by its path) or bytes and answers the stored blob. What is there already is not sent.

        `direct` sends it to the server's store of blobs itself, past the server, where it has addresses for that; the
        server checks it before it counts. Raises BadSource for a file that cannot be read.
        """
        format_of(format)  # before much is read for a format that is none
        source = (
            UploadSource.of_bytes(content, format)
            if isinstance(content, bytes)
            else await in_thread(open_file, content, format)
        )
        with progress_shown(on_progress, self._progress) as callback:
            return await upload_blob(self._channel, source, callback, direct)

    async def create_upload_url(
        self, sha256: str, size_bytes: int, *, format: BlobFormatName = "raw", lifetime: TimeSpan | None = None
    ) -> blob_service_pb2.CreateUploadUrlResponse:
        """Makes an address in the server's store itself, for somebody else to PUT exactly these bytes to, with `headers`.

        They count once `get` says that they are stored: the server checks the digest first. `lifetime` is a text ("1h") or
        seconds. Raises LongshoreError with the code UNIMPLEMENTED where the store has no addresses (`presigned_urls` of
        `capabilities`); `upload` goes the usual way then.
        """
        request = upload_url_request(sha256, size_bytes, format_of(format), lifetime)
        return await self._channel.unary(self._channel.blobs.CreateUploadUrl, request, retry=True)

    async def create_download_url(
        self, sha256: str, *, lifetime: TimeSpan | None = None
    ) -> blob_service_pb2.CreateDownloadUrlResponse:
        """Makes an address to GET a blob from, without a token, until its `expire_time`; see create_upload_url.

        Raises NotFound when the blob is not stored.
        """
        request = download_url_request(sha256, lifetime)
        return await self._channel.unary(self._channel.blobs.CreateDownloadUrl, request, retry=True)

    async def download(
        self,
        sha256: str,
        destination: PathLike,
        on_progress: BytesCallback | None = None,
        *,
        direct: bool = False,
    ) -> None:
        """Writes a blob to the file `destination` once its digest is checked; `direct` as of an upload.

        Raises NotFound when it is not stored.
        """
        blob = await self.get(sha256)
        if blob.state != blob_service_pb2.Blob.STATE_STORED:
            raise NotFound(f"the server has no blob {sha256}", resource_type="blob", resource_name=sha256)

        url = await address_of(self._channel, sha256) if direct else None

        def open_at(offset: int) -> Any:
            if url is not None:
                return aclosing(read_directly(url, offset))
            request = blob_service_pb2.DownloadBlobRequest(sha256=sha256, offset_bytes=offset)
            method = self._channel.blobs.DownloadBlob
            return self._channel.server_stream(method, request, blob_service_pb2.DownloadBlobResponse)

        target = os.path.abspath(os.fspath(destination))
        await download_to(target, sha256, blob.size_bytes, open_at, on_progress)
