"""One connection: calls that fail with typed errors."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from types import TracebackType
from typing import Any, Generic, TypeVar

import grpc

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

Request = TypeVar("Request")
Response = TypeVar("Response")
Response_co = TypeVar("Response_co", covariant=True)


class Channel:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._closed = False
        address, credentials, options = connection.address, connection.credentials, connection.options
        self._channel: grpc.Channel = (
            grpc.insecure_channel(address, options=options)
            if credentials is None
            else grpc.secure_channel(address, credentials, options=options)
        )
        self.tasks = TaskServiceStub(self._channel)
        self.blobs = BlobServiceStub(self._channel)
        self.system = SystemServiceStub(self._channel)
        self.usage = UsageServiceStub(self._channel)
        self.access = AccessServiceStub(self._channel)
        self.webhooks = WebhookServiceStub(self._channel)

    def close(self) -> None:
        """Ends every call that is under way and lets go of the connection."""
        self._closed = True
        self._channel.close()

    def unary(
        self,
        method: grpc.UnaryUnaryMultiCallable[Request, Response],
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
                    return method(request, timeout=self._connection.call_timeout, metadata=headers)
            except (Unavailable, RateLimited) as error:
                if not retry:
                    raise
                patience = limited if isinstance(error, RateLimited) else away
                time.sleep(patience.next_delay(error))

    def pages(
        self, method: grpc.UnaryUnaryMultiCallable[Any, Response], request: Any
    ) -> Generator[Response, None, None]:
        """Answers to a question that has a page_token, one after the other, each asked for when the reader wants it."""
        while True:
            page: Any = self.unary(method, request, retry=True)
            yield page
            request.page_token = page.next_page_token
            if not page.next_page_token:
                return

    def server_stream(
        self, method: Callable[..., Any], request: Any, response: type[Response], silence: float | None = None
    ) -> ServerStream[Response]:
        """The messages of a server's stream; with `silence`, a server that sends nothing for so many seconds counts as gone."""
        return ServerStream(self, lambda: method(request, metadata=self._connection.headers()), response, silence)

    def client_stream(
        self, method: Any, messages: Iterator[Any], response: type[Response], traceparent: str = ""
    ) -> Response:
        """Sends messages at the server's pace; an answer that comes before the last message ends the sending."""
        failures: list[BaseException] = []
        started = threading.Event()
        call: Any = None

        def watched() -> Iterator[Any]:
            try:
                yield from messages
            except Exception as error:  # raised below, where gRPC would only log it
                failures.append(error)
                started.wait()
                call.cancel()

        try:
            with _Explained(self):
                call = method.future(watched(), metadata=self._connection.headers(traceparent))
                started.set()
                answer: Response = call.result()
                return answer
        except BaseException:
            if failures:
                raise failures[0] from None
            raise
        finally:
            started.set()
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
        # grpc raises a bare ValueError on a closed channel.
        if self._channel.closed and isinstance(error, (grpc.RpcError, grpc.FutureCancelledError, ValueError)):
            raise closed_error() from error
        if isinstance(error, grpc.FutureCancelledError):
            raise ConnectionLost("the call was cancelled", code="CANCELLED") from error
        if isinstance(error, grpc.RpcError) and isinstance(error, grpc.Call):
            trailing = dict(iter(error.trailing_metadata() or ()))
            raise error_of(error.code(), error.details() or "", trailing) from error


class ServerStream(Generic[Response_co]):
    """A server's stream; leaving the `with` block cancels the call."""

    def __init__(
        self, channel: Channel, start: Callable[[], Any], response: type[Response_co], silence: float | None
    ) -> None:
        self._channel = channel
        self._start = start
        self._silence = silence
        self._call: Any = None
        self._watchdog: _Watchdog | None = None

    def __enter__(self) -> ServerStream[Response_co]:
        with _Explained(self._channel):
            self._call = self._start()
        if self._silence is not None:
            self._watchdog = _Watchdog(self._silence, self._call.cancel)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._watchdog is not None:
            self._watchdog.stop()
        self._call.cancel()

    def __iter__(self) -> ServerStream[Response_co]:
        return self

    def __next__(self) -> Response_co:
        with _Explained(self._channel):
            if self._watchdog is None:
                return self._next()
            try:
                # Counts only while we wait: a reader that takes its time is not a silent server.
                with self._watchdog:
                    return self._next()
            except grpc.RpcError:
                if self._watchdog.barked:
                    message = f"the server sent nothing for {self._silence} s"
                    raise ConnectionLost(message, code="UNAVAILABLE") from None
                raise

    def _next(self) -> Response_co:
        message: Response_co = next(self._call)
        return message


class _Watchdog:
    """Calls `bark` once when somebody waits inside its `with` block for too long."""

    def __init__(self, patience: float, bark: Callable[[], object]) -> None:
        self.barked = False
        self._patience = patience
        self._bark = bark
        self._since: float | None = None
        self._stopped = threading.Event()
        threading.Thread(target=self._watch, name="longshore-silence", daemon=True).start()

    def __enter__(self) -> None:
        self._since = time.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._since = None

    def stop(self) -> None:
        self._stopped.set()

    def _watch(self) -> None:
        left = self._patience
        while not self._stopped.wait(left):
            since = self._since
            left = self._patience if since is None else since + self._patience - time.monotonic()
            if left <= 0:
                self.barked = True
                self._bark()
                return
