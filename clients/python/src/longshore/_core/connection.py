"""How a client connects."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc

from .errors import BadConnection
from .tracing import trace_headers

DEFAULT_ADDRESS = "127.0.0.1:50051"
_MEBIBYTE = 2**20

# Long enough for a server that restarts quickly, short enough to tell a person that none is there.
UNARY_GIVE_UP = 3.0
# A server that has enough of us is there, and a thousand tasks submitted at once are to arrive all the same.
RATE_GIVE_UP = 60.0

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
TokenSource = str | Callable[[], str]
FileName = str | os.PathLike[str]

# Traffic to these stays on the machine.
_LOCAL = re.compile(r"(?:127\.\d+\.\d+\.\d+|localhost|\[::1\])(?::\d+)?")


@dataclass(frozen=True)
class Connection:
    address: str
    credentials: grpc.ChannelCredentials | None
    metadata: MetadataSource | None
    channel_options: Sequence[tuple[str, int | str]]
    call_timeout: float
    token: TokenSource | None = None

    @property
    def options(self) -> list[tuple[str, int | str]]:
        """The caller's win over those of this package."""
        return list((dict(_CHANNEL_OPTIONS) | dict(self.channel_options)).items())

    def headers(self, traceparent: str = "") -> tuple[tuple[str, str], ...]:
        """Sent with a call: the trace, given or active, the caller's own and the token, asked anew so that it can be renewed."""
        own = self.metadata() if callable(self.metadata) else self.metadata
        given = {"traceparent": traceparent} if traceparent else {}
        return tuple((trace_headers() | dict(own or {}) | given | self._authorization()).items())

    def _authorization(self) -> dict[str, str]:
        if self.token is None:
            return {}
        token = (self.token() if callable(self.token) else self.token).strip()
        # gRPC would refuse other bytes with an error that shows them.
        if not re.fullmatch(r"[!-~]+", token):
            raise BadConnection("the token is empty or holds characters that no token has")
        return {"authorization": f"Bearer {token}"}


def default_address() -> str:
    return os.environ.get("LONGSHORE_SERVER") or DEFAULT_ADDRESS


@dataclass(frozen=True)
class Security:
    """How a connection is secured; what is None is taken from the LONGSHORE_* variables."""

    token: TokenSource | None = None
    token_file: FileName | None = None
    tls: bool | None = None
    tls_ca: FileName | None = None
    tls_cert: FileName | None = None
    tls_key: FileName | None = None
    allow_insecure: bool | None = None

    def token_source(self) -> TokenSource | None:
        """Where the token is read for each call; what was given in code wins over the variables."""
        if self.token is not None and self.token_file is not None:
            raise BadConnection("both a token and a file with one were given; give one of them")
        if self.token is not None:
            return self.token
        token, path = os.environ.get("LONGSHORE_TOKEN"), os.environ.get("LONGSHORE_TOKEN_FILE")
        if self.token_file is None and token and path:
            raise BadConnection("LONGSHORE_TOKEN and LONGSHORE_TOKEN_FILE are both set; set one of them")
        if self.token_file is None and token:
            return token
        file = self.token_file or path
        return None if not file else lambda: _read(file, "the token file").decode("utf-8", "replace")

    def credentials(self) -> grpc.ChannelCredentials | None:
        """None where nothing asks for TLS, or `tls` is false whatever the variables say."""
        if self.tls is False:
            return None
        ca = self.tls_ca or os.environ.get("LONGSHORE_TLS_CA")
        certificate = self.tls_cert or os.environ.get("LONGSHORE_TLS_CLIENT_CERT")
        key = self.tls_key or os.environ.get("LONGSHORE_TLS_CLIENT_KEY")
        asked = self.tls or os.environ.get("LONGSHORE_TLS") == "true"
        if bool(certificate) != bool(key):
            raise BadConnection("a client's certificate and its key belong together; give both")
        if not (asked or ca or certificate):
            return None
        return grpc.ssl_channel_credentials(
            root_certificates=_read(ca, "tls_ca") if ca else None,
            private_key=_read(key, "tls_key") if key else None,
            certificate_chain=_read(certificate, "tls_cert") if certificate else None,
        )

    @property
    def insecure_allowed(self) -> bool:
        if self.allow_insecure is not None:
            return self.allow_insecure
        return os.environ.get("LONGSHORE_ALLOW_INSECURE") == "true"


def connect(
    address: str,
    credentials: grpc.ChannelCredentials | None,
    security: Security,
    metadata: MetadataSource | None,
    channel_options: Sequence[tuple[str, int | str]],
    call_timeout: float,
) -> Connection:
    """The connection as its parts ask for; never a token in the clear to another machine, unless that is allowed."""
    credentials = credentials or security.credentials()
    token = security.token_source()
    if token is not None and credentials is None and not security.insecure_allowed and not is_local(address):
        raise BadConnection(
            f"the token would go to {address} for everybody on the way to read: turn TLS on (tls=True or tls_ca=FILE, "
            "LONGSHORE_TLS=true), or set LONGSHORE_ALLOW_INSECURE=true if the network is trusted"
        )
    return Connection(address, credentials, metadata, channel_options, call_timeout, token)


def is_local(address: str) -> bool:
    if address.startswith("unix:"):
        return True
    return _LOCAL.fullmatch(re.sub(r"^(?:dns|ipv4|ipv6):(?://[^/]*/)?", "", address)) is not None


def _read(path: FileName, what: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise BadConnection(f"{what} {path} cannot be read: {error.strerror}") from error
