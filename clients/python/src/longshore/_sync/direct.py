# Made of ../_async/direct.py by scripts/generate; never edited.
"""Downloads from the server's store of blobs itself."""

from __future__ import annotations

from collections.abc import Generator

from longshore.v1 import blob_service_pb2

from .._core.direct import Download
from .._core.errors import LongshoreError
from .._core.store_addresses import download_url_request
from .channel import Channel
from .runtime import in_thread
from .upload import LIFETIME


def address_of(channel: Channel, sha256: str) -> str | None:
    """Where the store gives the blob out itself; None where it has no addresses."""
    request = download_url_request(sha256, LIFETIME)
    try:
        answer = channel.unary(channel.blobs.CreateDownloadUrl, request, retry=True)
    except LongshoreError as error:
        if error.code != "UNIMPLEMENTED":
            raise
        return None
    return answer.url


def read_directly(url: str, offset: int) -> Generator[blob_service_pb2.DownloadBlobResponse, None, None]:
    """The same messages as DownloadBlob's, read over HTTP."""
    download = in_thread(Download, url, offset)
    try:
        while chunk := in_thread(download.read):
            yield blob_service_pb2.DownloadBlobResponse(offset_bytes=offset, chunk=chunk)
            offset += len(chunk)
    finally:
        download.close()
