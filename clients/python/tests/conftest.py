"""What tests need: a real server, whose address LONGSHORE_SERVER names, and connections that break."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from cutting_proxy import CuttingProxy

import longshore

NO_SERVER = "LONGSHORE_SERVER names no server; test/e2e/python.test.ts starts one"


@pytest.fixture(scope="session")
def address() -> str:
    found = os.environ.get("LONGSHORE_SERVER")
    if not found:
        pytest.skip(NO_SERVER)
    return found


@pytest.fixture
def client(address: str) -> Iterator[longshore.Client]:
    with longshore.Client(address) as made:
        yield made


@pytest.fixture
def proxy(address: str) -> Iterator[CuttingProxy]:
    with CuttingProxy(address) as made:
        yield made


@pytest.fixture
def proxied(proxy: CuttingProxy) -> Iterator[longshore.Client]:
    with longshore.Client(proxy.address) as made:
        yield made


class ServerControl:
    """Whoever started the server listens here, and kills and restarts it for each connection."""

    def __init__(self, address: str) -> None:
        host, port = address.rsplit(":", 1)
        self._address = (host, int(port))

    def restart(self) -> None:
        with socket.create_connection(self._address) as connection:
            assert connection.recv(64) == b"restarted\n"


@pytest.fixture(scope="session")
def server_control() -> ServerControl:
    found = os.environ.get("LONGSHORE_SERVER_CONTROL")
    if not found:
        pytest.skip("LONGSHORE_SERVER_CONTROL names nobody who could restart the server")
    return ServerControl(found)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


@pytest.fixture(autouse=True)
def nothing_left(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Packing works in temporary files; none may stay."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    yield
    assert list(folder.iterdir()) == []
