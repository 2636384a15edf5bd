"""Transfers to and from the server's store of blobs itself, over plain HTTP."""

from __future__ import annotations

import http.client
import urllib.parse
from collections.abc import Callable, Iterator, Mapping

from .errors import DigestMismatch, LongshoreError, Unavailable
from .upload_source import CHUNK_BYTES, UploadSource

# A store that says nothing for so long is taken for gone, in seconds.
SILENCE = 60.0


def put(url: str, headers: Mapping[str, str], source: UploadSource, on_sent: Callable[[int], None]) -> None:
    """Sends all bytes in one request. Raises Unavailable, and DigestMismatch where the store refuses them."""
    connection, target = _connect(url)
    try:
        length = {"Content-Length": str(source.size_bytes)}
        connection.request("PUT", target, _counted(source, on_sent), {**headers, **length}, encode_chunked=False)
        response = connection.getresponse()
        response.read()
    except (OSError, http.client.HTTPException) as error:
        raise _away(f"broke off: {error}") from error
    finally:
        connection.close()
    if response.status >= 500 or response.status == 429:
        raise _away(f"answered with status {response.status}")
    if response.status >= 300:
        raise DigestMismatch(
            f"the store of blobs refused the bytes of {source.sha256} with status {response.status}; they changed while "
            "they were sent, or something on the way changed the request",
            code="INVALID_ARGUMENT",
        )


class Download:
    """Bytes of a blob from an offset on; to be closed."""

    def __init__(self, url: str, offset: int) -> None:
        self._connection, target = _connect(url)
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        try:
            self._connection.request("GET", target, headers=headers)
            self._response = self._connection.getresponse()
            if self._response.status not in (200, 206):
                raise _away(f"answered with status {self._response.status}")
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise _away(f"broke off: {error}") from error
        except LongshoreError:
            self._connection.close()
            raise

    def read(self) -> bytes:
        """The next bytes; none at the end."""
        try:
            return self._response.read(CHUNK_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise _away(f"broke off: {error}") from error

    def close(self) -> None:
        self._connection.close()


def _connect(url: str) -> tuple[http.client.HTTPConnection, str]:
    parts = urllib.parse.urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    return kind(parts.hostname or "", parts.port, timeout=SILENCE), target


def _counted(source: UploadSource, on_sent: Callable[[int], None]) -> Iterator[bytes]:
    sent = 0
    for chunk in source.read(0):
        yield chunk
        sent += len(chunk)
        on_sent(sent)


def _away(what: str) -> Unavailable:
    return Unavailable(f"the store of blobs {what}", code="UNAVAILABLE", reason="UNAVAILABLE")
