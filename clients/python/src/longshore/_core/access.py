"""Tokens and the audit log, as requests and answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from longshore.v1 import access_service_pb2

from .option_reader import OptionReader


@dataclass(frozen=True)
class CreatedToken:
    """A token that was made: what the server keeps of it, and `secret`, the token itself, which is never shown again."""

    token: access_service_pb2.Token
    # Not in the text form, which ends up in logs.
    secret: str = field(repr=False)


def token_request(options: Mapping[str, Any]) -> access_service_pb2.CreateTokenRequest:
    """Raises InvalidRequest with every option that cannot be sent."""
    reader = OptionReader(options)
    request = access_service_pb2.CreateTokenRequest(
        tenant=reader.text("tenant") or "",
        subject=reader.text("subject") or "",
        scopes=reader.texts("scopes") or (),
        description=reader.text("description") or "",
        lifetime=reader.duration("lifetime"),
    )
    reader.finish()
    return request


def audit_request(options: Mapping[str, Any]) -> access_service_pb2.ListAuditEventsRequest:
    """Raises InvalidRequest with every option that cannot be sent."""
    reader = OptionReader(options)
    request = access_service_pb2.ListAuditEventsRequest(
        tenant=reader.text("tenant") or "",
        since=reader.time("since"),
        until=reader.time("until"),
        page_size=options["page_size"],
    )
    reader.finish()
    return request
