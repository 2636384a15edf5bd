"""One connection: calls that are cancelled with their task and fail with typed errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import grpc
import grpc.aio

from longshore.v1.access_service_pb2_grpc import AccessServiceStub
from longshore.v1.blob_service_pb2_grpc import BlobServiceStub
from longshore.v1.system_service_pb2_grpc import SystemServiceStub
from longshore.v1.task_service_pb2_grpc import TaskServiceStub
from longshore.v1.usage_service_pb2_grpc import UsageServiceStub
from longshore.v1.webhook_service_pb2_grpc import WebhookServiceStub

from .._core.backoff import Backoff
from .._core.connection import RATE_GIVE_UP, UNARY_GIVE_UP, Connection
from .._core.errors import ConnectionLost, RateLimited, Unavailable
from .._core.status import closed_error, error_of

if TYPE_CHECKING:
    from longshore.v1.access_service_pb2_grpc import AccessServiceAsyncStub
    from longshore.v1.blob_service_pb2_grpc import BlobServiceAsyncStub
    from longshore.v1.system_service_pb2_grpc import SystemServiceAsyncStub
    from longshore.v1.task_service_pb2_grpc import TaskServiceAsyncStub
    from longshore.v1.usage_service_pb2_grpc import UsageServiceAsyncStub
    from longshore.v1.webhook_service_pb2_grpc import WebhookServiceAsyncStub

Request = TypeVar("Request")
Response = TypeVar("Response")
Response_co = TypeVar("Response_co", covariant=True)


class Channel:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._channel: grpc.aio.Channel | None = None
        self._closed = False

    @property
    def tasks(self) -> TaskServiceAsyncStub:
        return TaskServiceStub(self._open())

    @property
    def blobs(self) -> BlobServiceAsyncStub:
        return BlobServiceStub(self._open())

    @property
    def system(self) -> SystemServiceAsyncStub:
        return SystemServiceStub(self._open())

    @property
    def usage(self) -> UsageServiceAsyncStub:
        return UsageServiceStub(self._open())

    @property
    def access(self) -> AccessServiceAsyncStub:
        return AccessServiceStub(self._open())

    @property
    def webhooks(self) -> WebhookServiceAsyncStub:
        return WebhookServiceStub(self._open())

    def _open(self) -> grpc.aio.Channel:
        """Connects at the first call: a client may be made where no event loop runs yet."""
        if self._closed:
            raise closed_error()
        if self._channel is None:
            address, credentials = self._connection.address, self._connection.credentials
            options = self._connection.options
            self._channel = (
                grpc.aio.insecure_channel(address, options=options)
                if credentials is None
                else grpc.aio.secure_channel(address, credentials, options=options)
            )
        return self._channel

    async def close(self) -> None:
        """Ends every call that is under way and lets go of the connection."""
        self._closed = True
        if self._channel is not None:
            await self._channel.close()

    async def unary(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        *,
        retry: bool,
        traceparent: str = "",
    ) -> Response:
        """One question, one answer. With `retry` it is asked again while the server is away or has enough of us: only for what may happen twice."""
        away, limited = Backoff(UNARY_GIVE_UP), Backoff(RATE_GIVE_UP)
        while True:
            headers = self._connection.headers(traceparent)
            try:
                with _Explained(self):
                    return await method(request, timeout=self._connection.call_timeout, metadata=headers)
            except (Unavailable, RateLimited) as error:
                if not retry:
                    raise
                patience = limited if isinstance(error, RateLimited) else away
                await asyncio.sleep(patience.next_delay(error))

    async def pages(
        self, method: grpc.aio.UnaryUnaryMultiCallable[Any, Response], request: Any
    ) -> AsyncGenerator[Response, None]:
        """Answers to a question that has a page_token, one after the other, each asked for when the reader wants it."""
        while True:
            page: Any = await self.unary(method, request, retry=True)
            yield page
            request.page_token = page.next_page_token
            if not page.next_page_token:
                return

    def server_stream(
        self, method: Callable[..., Any], request: Any, response: type[Response], silence: float | None = None
    ) -> ServerStream[Response]:
        """The messages of a server's stream; with `silence`, a server that sends nothing for so many seconds counts as gone."""
        return ServerStream(self, lambda: method(request, metadata=self._connection.headers()), response, silence)

    async def client_stream(
        self, method: Callable[..., Any], messages: AsyncIterator[Any], response: type[Response], traceparent: str = ""
    ) -> Response:
        """Sends messages at the server's pace; an answer that comes before the last message ends the sending."""
        failures: list[BaseException] = []
        call: Any = None

        async def watched() -> AsyncIterator[Any]:
            try:
                async for message in messages:
                    yield message
            except Exception as error:  # raised below, where gRPC would only log it
                failures.append(error)
                call.cancel()

        try:
            with _Explained(self):
                call = method(watched(), metadata=self._connection.headers(traceparent))
                answer: Response = await call
                return answer
        except BaseException:
            if failures:
                raise failures[0] from None
            raise
        finally:
            if call is not None:
                call.cancel()

    @property
    def closed(self) -> bool:
        return self._closed


class _Explained:
    """Turns what gRPC raises into the typed error that says the same."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._channel.closed and isinstance(error, (grpc.RpcError, grpc.aio.UsageError, asyncio.CancelledError)):
            raise closed_error() from error
        if isinstance(error, grpc.aio.AioRpcError):
            trailing = dict(iter(error.trailing_metadata() or ()))
            raise error_of(error.code(), error.details() or "", trailing) from error


class ServerStream(Generic[Response_co]):
    """A server's stream; leaving the `async with` block cancels the call."""

    def __init__(
        self, channel: Channel, start: Callable[[], Any], response: type[Response_co], silence: float | None
    ) -> None:
        self._channel = channel
        self._start = start
        self._silence = silence
        self._call: Any = None

    async def __aenter__(self) -> ServerStream[Response_co]:
        with _Explained(self._channel):
            self._call = self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call.cancel()

    def __aiter__(self) -> ServerStream[Response_co]:
        return self

    async def __anext__(self) -> Response_co:
        with _Explained(self._channel):
            try:
                # Counts only while we wait: a reader that takes its time is not a silent server.
                message = await asyncio.wait_for(self._call.read(), self._silence)
            except asyncio.TimeoutError:
                raise ConnectionLost(f"the server sent nothing for {self._silence} s", code="UNAVAILABLE") from None
            if message is grpc.aio.EOF:
                raise StopAsyncIteration
            answer: Response_co = message
            return answer
