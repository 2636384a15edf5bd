"""Who may call, and who did what."""

from __future__ import annotations

import datetime
from collections.abc import AsyncGenerator, Sequence

from longshore.v1 import access_service_pb2

from .._core.access import CreatedToken, audit_request, token_request
from .._core.options import TimeSpan
from .channel import Channel


class Access:
    """Who may call, and who did what: `client.access`. All but `caller` needs the scope admin (PermissionDenied)."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def caller(self) -> access_service_pb2.GetCallerResponse:
        """Whom the server takes this client for: `tenant`, `subject`, `scopes`, `credential`, `expire_time`."""
        request = access_service_pb2.GetCallerRequest()
        return await self._channel.unary(self._channel.access.GetCaller, request, retry=True)

    async def create_token(
        self,
        scopes: Sequence[str],
        *,
        subject: str = "",
        tenant: str = "",
        description: str = "",
        lifetime: TimeSpan | None = None,
    ) -> CreatedToken:
        """Makes a token; `secret` of the answer is the token itself and is never shown again.

        `scopes` is what it may do: "tasks:read", "tasks:write", "blobs", "usage", "admin", "operator". `subject` is who
        uses it and `tenant` whose tasks it reaches, both the caller's own when left out; another tenant needs the scope
        operator. `lifetime` is a text ("90d", "12h") or seconds, 90 days when left out. Not repeated by itself when the
        connection is lost: a second token would be left that nobody knows of. Raises InvalidRequest.
        """
        options = {"scopes": scopes, "subject": subject, "tenant": tenant, "description": description}
        request = token_request({**options, "lifetime": lifetime})
        answer = await self._channel.unary(self._channel.access.CreateToken, request, retry=False)
        return CreatedToken(answer.token, answer.secret)

    async def tokens(self, *, tenant: str = "", page_size: int = 0) -> AsyncGenerator[access_service_pb2.Token, None]:
        """Tokens, newest first, revoked and expired ones too, page after page for as long as the loop reads on.

        Another `tenant` than the caller's own needs the scope operator, which sees all of them when it is left out.
        """
        request = access_service_pb2.ListTokensRequest(tenant=tenant, page_size=page_size)
        async for page in self._channel.pages(self._channel.access.ListTokens, request):
            for token in page.tokens:
                yield token

    async def revoke_token(self, id: str) -> access_service_pb2.Token:
        """Later calls with it are refused and streams that it opened end; tasks go on. Twice is no error. Raises NotFound."""
        request = access_service_pb2.RevokeTokenRequest(id=id)
        answer = await self._channel.unary(self._channel.access.RevokeToken, request, retry=True)
        return answer.token

    async def audit_events(
        self,
        *,
        tenant: str = "",
        since: datetime.datetime | None = None,
        until: datetime.datetime | None = None,
        page_size: int = 0,
    ) -> AsyncGenerator[access_service_pb2.AuditEvent, None]:
        """What was done and what was denied, oldest first, from `since` to before `until`, page after page.

        Another `tenant` than the caller's own needs the scope operator, which sees everything when it is left out.
        """
        request = audit_request({"tenant": tenant, "since": since, "until": until, "page_size": page_size})
        async for page in self._channel.pages(self._channel.access.ListAuditEvents, request):
            for event in page.events:
                yield event
