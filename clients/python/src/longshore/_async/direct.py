"""Downloads from the server's store of blobs itself."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from longshore.v1 import blob_service_pb2

from .._core.direct import Download
from .._core.errors import LongshoreError
from .._core.store_addresses import download_url_request
from .channel import Channel
from .runtime import in_thread
from .upload import LIFETIME


async def address_of(channel: Channel, sha256: str) -> str | None:
    """Where the store gives the blob out itself; None where it has no addresses."""
    request = download_url_request(sha256, LIFETIME)
    try:
        answer = await channel.unary(channel.blobs.CreateDownloadUrl, request, retry=True)
    except LongshoreError as error:
        if error.code != "UNIMPLEMENTED":
            raise
        return None
    return answer.url


async def read_directly(url: str, offset: int) -> AsyncGenerator[blob_service_pb2.DownloadBlobResponse, None]:
    """The same messages as DownloadBlob's, read over HTTP."""
    download = await in_thread(Download, url, offset)
    try:
        while chunk := await in_thread(download.read):
            yield blob_service_pb2.DownloadBlobResponse(offset_bytes=offset, chunk=chunk)
            offset += len(chunk)
    finally:
        download.close()
