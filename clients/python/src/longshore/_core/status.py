"""What gRPC reports, as the typed error that says the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from . import errors

_PLAIN: Mapping[str, type[errors.LongshoreError]] = {
    "BAD_ARCHIVE": errors.BadArchive,
    "DIGEST_MISMATCH": errors.DigestMismatch,
    "NEVER_FITS": errors.NeverFits,
    "NOT_ENFORCED": errors.NotEnforced,
    "IMAGE_REFUSED": errors.ImageRefused,
    "WRONG_STATE": errors.WrongState,
    "REQUEST_ID_REUSED": errors.RequestIdReused,
    "WRONG_OFFSET": errors.WrongOffset,
    "UNAUTHENTICATED": errors.Unauthenticated,
    "MISSING_SCOPE": errors.PermissionDenied,
}

# What HTTP/2 and gRPC themselves report when a connection dies under a call; a server's own answer carries ErrorInfo.
_LOST = (grpc.StatusCode.INTERNAL, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN)


@dataclass
class _Details:
    reason: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    violations: list[errors.FieldViolation] | None = None
    quota: list[errors.QuotaViolation] = field(default_factory=list)
    retry_after: float = 0.0
    resource_type: str = ""
    resource_name: str = ""
    request_id: str = ""


def _read_details(trailing: Mapping[str, str | bytes]) -> _Details:
    """Reads what the server attached; a proxy may attach anything, so what does not parse counts as absent."""
    details = _Details()
    raw = trailing.get("grpc-status-details-bin")
    if not isinstance(raw, bytes):
        return details
    try:
        for packed in status_pb2.Status.FromString(raw).details:
            _read_detail(details, packed.type_url.rpartition("/")[2], packed.value)
    except DecodeError:
        return _Details()  # the status code and the message still tell what matters
    return details


def _read_detail(details: _Details, kind: str, value: bytes) -> None:
    if kind == "google.rpc.ErrorInfo":
        info = error_details_pb2.ErrorInfo.FromString(value)
        details.reason, details.metadata = info.reason, dict(info.metadata)
    elif kind == "google.rpc.BadRequest":
        found = error_details_pb2.BadRequest.FromString(value).field_violations
        details.violations = [errors.FieldViolation(v.field, v.description) for v in found]
    elif kind == "google.rpc.QuotaFailure":
        used_up = error_details_pb2.QuotaFailure.FromString(value).violations
        details.quota = [errors.QuotaViolation(v.subject, v.description) for v in used_up]
    elif kind == "google.rpc.RetryInfo":
        details.retry_after = error_details_pb2.RetryInfo.FromString(value).retry_delay.ToMilliseconds() / 1000
    elif kind == "google.rpc.ResourceInfo":
        resource = error_details_pb2.ResourceInfo.FromString(value)
        details.resource_type, details.resource_name = resource.resource_type, resource.resource_name
    elif kind == "google.rpc.RequestInfo":
        details.request_id = error_details_pb2.RequestInfo.FromString(value).request_id


def error_of(code: grpc.StatusCode, message: str, trailing: Mapping[str, str | bytes]) -> errors.LongshoreError:
    """The typed error for a call that ended with `code`."""
    details = _read_details(trailing)
    reason = details.reason
    facts: dict[str, Any] = {"code": code.name, "reason": reason, "metadata": details.metadata}
    message = message or f"the call ended with {code.name}"
    if reason in _PLAIN:
        return _PLAIN[reason](message, **facts)
    if reason == "UPLOAD_IN_PROGRESS":
        return errors.UploadInProgress(message, retry_after=details.retry_after, **facts)
    if reason == "RATE_LIMITED":
        return errors.RateLimited(message, retry_after=details.retry_after, **facts)
    if reason == "" and code in _LOST:
        return errors.ConnectionLost(message, **facts)
    return _by_code(code, message, details, facts)


def _by_code(code: grpc.StatusCode, message: str, details: _Details, facts: dict[str, Any]) -> errors.LongshoreError:
    status = grpc.StatusCode
    if code is status.INVALID_ARGUMENT and details.violations is not None:
        return errors.InvalidRequest(details.violations, message=message, **facts)
    if code is status.NOT_FOUND:
        return errors.NotFound(
            message, resource_type=details.resource_type, resource_name=details.resource_name, **facts
        )
    if code is status.RESOURCE_EXHAUSTED:
        return errors.QuotaExceeded(message, violations=details.quota, **facts)
    if code is status.UNAVAILABLE:
        return errors.Unavailable(message, retry_after=details.retry_after, **facts)
    if code is status.UNAUTHENTICATED:
        return errors.Unauthenticated(message, **facts)
    if code is status.PERMISSION_DENIED:
        return errors.PermissionDenied(message, **facts)
    if code is status.INTERNAL:
        return errors.ServerFault(message, request_id=details.request_id, **facts)
    return errors.LongshoreError(message, **facts)


def closed_error() -> errors.LongshoreError:
    return errors.LongshoreError("the client is closed", code="CANCELLED", reason="CLOSED")
