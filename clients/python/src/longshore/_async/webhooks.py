"""Who is told of what becomes of tasks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from longshore.v1 import webhook_service_pb2

from .._core.options import DeliveryStateName, StateName, TimeSpan
from .._core.webhooks import (
    CreatedWebhook,
    RotatedSecret,
    deliveries_request,
    rotated_secret,
    rotation_request,
    webhook_request,
)
from .channel import Channel


class Webhooks:
    """Who is told of what becomes of tasks: `client.webhooks`. A single task names its own as the option `webhooks`."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def create(self, url: str, *, states: Sequence[StateName] = (), description: str = "") -> CreatedWebhook:
        """Has every task of the tenant told to an address from now on, when it comes to one of `states`.

        `url` is "https://..." or, where the server sends mail, "mailto:NAME@DOMAIN"; `states` are the terminal ones when
        left out. Deliveries are signed as of Standard Webhooks; `secret` of the answer is set where this call made the
        secret, and is never shown again. Not repeated by itself when the connection is lost. Needs the scope admin.
        Raises InvalidRequest and QuotaExceeded.
        """
        request = webhook_request({"url": url, "states": states, "description": description})
        answer = await self._channel.unary(self._channel.webhooks.CreateWebhook, request, retry=False)
        return CreatedWebhook(answer.webhook, answer.secret)

    async def list(self, *, page_size: int = 0) -> AsyncGenerator[webhook_service_pb2.WebhookEndpoint, None]:
        """The tenant's addresses, newest first, page after page for as long as the loop reads on. Needs the scope admin."""
        request = webhook_service_pb2.ListWebhooksRequest(page_size=page_size)
        async for page in self._channel.pages(self._channel.webhooks.ListWebhooks, request):
            for webhook in page.webhooks:
                yield webhook

    async def delete(self, id: str) -> None:
        """Takes an address away; what was still to be sent to it is not. Needs the scope admin. Raises NotFound."""
        request = webhook_service_pb2.DeleteWebhookRequest(id=id)
        # A repeated delete would answer NOT_FOUND for what the first one did.
        await self._channel.unary(self._channel.webhooks.DeleteWebhook, request, retry=False)

    async def rotate_secret(self, *, overlap: TimeSpan | None = None) -> RotatedSecret:
        """Makes a new signing secret. For `overlap` ("24h", seconds; the server's default is 24 h) the old one signs, too.

        Not repeated by itself when the connection is lost: nobody would know the secret. Needs the scope admin.
        """
        request = rotation_request({"overlap": overlap})
        answer = await self._channel.unary(self._channel.webhooks.RotateWebhookSecret, request, retry=False)
        return rotated_secret(answer)

    async def deliveries(
        self,
        *,
        webhook_id: str = "",
        task_id: str = "",
        states: Sequence[DeliveryStateName] = (),
        page_size: int = 0,
    ) -> AsyncGenerator[webhook_service_pb2.Delivery, None]:
        """What was sent and what is still to be, newest first, page after page for as long as the loop reads on.

        Of one webhook, one task, in one of `states` ("pending", "delivered", "failed"), where given.
        """
        request = deliveries_request(
            {"webhook_id": webhook_id, "task_id": task_id, "states": states, "page_size": page_size}
        )
        async for page in self._channel.pages(self._channel.webhooks.ListDeliveries, request):
            for delivery in page.deliveries:
                yield delivery

    async def redeliver(self, id: str) -> webhook_service_pb2.Delivery:
        """Sends one again, at once, whatever became of it. Raises NotFound, and WrongState where its webhook is deleted."""
        request = webhook_service_pb2.RedeliverRequest(id=id)
        answer = await self._channel.unary(self._channel.webhooks.Redeliver, request, retry=True)
        return answer.delivery
