"""Webhooks and their deliveries, as requests and answers."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from longshore.v1 import task_pb2, webhook_service_pb2

from .option_reader import OptionReader


@dataclass(frozen=True)
class CreatedWebhook:
    """A webhook that was made; `secret` is the tenant's signing secret where this call made it, and never shown again."""

    webhook: webhook_service_pb2.WebhookEndpoint
    # Not in the text form, which ends up in logs.
    secret: str = field(repr=False)


@dataclass(frozen=True)
class RotatedSecret:
    """A new signing secret; the one before signs beside it until `previous_expire_time` (None where there is none)."""

    # Not in the text form, which ends up in logs.
    secret: str = field(repr=False)
    previous_expire_time: datetime.datetime | None


def webhook_request(options: Mapping[str, Any]) -> webhook_service_pb2.CreateWebhookRequest:
    """Raises InvalidRequest with every option that cannot be sent."""
    reader = OptionReader(options)
    request = webhook_service_pb2.CreateWebhookRequest(
        url=reader.text("url") or "",
        states=reader.enums("states", task_pb2.Task.State, "STATE_"),
        description=reader.text("description") or "",
    )
    reader.finish()
    return request


def rotation_request(options: Mapping[str, Any]) -> webhook_service_pb2.RotateWebhookSecretRequest:
    reader = OptionReader(options)
    request = webhook_service_pb2.RotateWebhookSecretRequest(overlap=reader.duration("overlap"))
    reader.finish()
    return request


def rotated_secret(answer: webhook_service_pb2.RotateWebhookSecretResponse) -> RotatedSecret:
    until = answer.previous_expire_time.ToDatetime(datetime.timezone.utc)
    return RotatedSecret(answer.secret, until if answer.HasField("previous_expire_time") else None)


def deliveries_request(options: Mapping[str, Any]) -> webhook_service_pb2.ListDeliveriesRequest:
    """Raises InvalidRequest with every option that cannot be sent."""
    reader = OptionReader(options)
    request = webhook_service_pb2.ListDeliveriesRequest(
        webhook_id=reader.text("webhook_id") or "",
        task_id=reader.text("task_id") or "",
        states=reader.enums("states", webhook_service_pb2.Delivery.State, "STATE_"),
        page_size=options["page_size"],
    )
    reader.finish()
    return request
