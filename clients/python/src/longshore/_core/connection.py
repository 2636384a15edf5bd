"""How a client connects."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import grpc

from .tracing import trace_headers

DEFAULT_ADDRESS = "127.0.0.1:50051"
_MEBIBYTE = 2**20

# Long enough for a server that restarts quickly, short enough to tell a person that none is there.
UNARY_GIVE_UP = 3.0

_CHANNEL_OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.max_receive_message_length", 16 * _MEBIBYTE),
    # gRPC waits a second and then up to two minutes; a server that restarts is back sooner.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Whatever its name says: how long one attempt to connect may take. A tenth of a second fails on a busy machine.
    ("grpc.min_reconnect_backoff_ms", 5_000),
    # Two clients of one program share nothing, as two in TypeScript do not.
    ("grpc.use_local_subchannel_pool", 1),
)

MetadataSource = Mapping[str, str] | Callable[[], Mapping[str, str]]


@dataclass(frozen=True)
class Connection:
    address: str
    credentials: grpc.ChannelCredentials | None
    metadata: MetadataSource | None
    channel_options: Sequence[tuple[str, int | str]]
    call_timeout: float

    @property
    def options(self) -> list[tuple[str, int | str]]:
        """The caller's win over those of this package."""
        return list((dict(_CHANNEL_OPTIONS) | dict(self.channel_options)).items())

    def headers(self) -> tuple[tuple[str, str], ...]:
        """Sent with a call: the active trace, and the caller's own, asked anew so that tokens can be renewed."""
        own = self.metadata() if callable(self.metadata) else self.metadata
        return tuple((trace_headers() | dict(own or {})).items())


def default_address() -> str:
    return os.environ.get("LONGSHORE_SERVER") or DEFAULT_ADDRESS
