"""Addresses of the server's store of blobs itself, as requests."""

from __future__ import annotations

from longshore.v1 import blob_service_pb2

from .option_reader import OptionReader
from .options import TimeSpan


def upload_url_request(
    sha256: str, size_bytes: int, format: blob_service_pb2.BlobFormat.ValueType, lifetime: TimeSpan | None
) -> blob_service_pb2.CreateUploadUrlRequest:
    reader = OptionReader({"lifetime": lifetime})
    request = blob_service_pb2.CreateUploadUrlRequest(
        sha256=sha256, size_bytes=size_bytes, format=format, lifetime=reader.duration("lifetime")
    )
    reader.finish()
    return request


def download_url_request(sha256: str, lifetime: TimeSpan | None) -> blob_service_pb2.CreateDownloadUrlRequest:
    reader = OptionReader({"lifetime": lifetime})
    request = blob_service_pb2.CreateDownloadUrlRequest(sha256=sha256, lifetime=reader.duration("lifetime"))
    reader.finish()
    return request
