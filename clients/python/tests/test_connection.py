"""How a client is told where the server is, who calls, and what secures the way there."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripted_server import ScriptedServer

import longshore
from longshore._core.connection import is_local

VARIABLES = ("TOKEN", "TOKEN_FILE", "TLS", "TLS_CA", "TLS_CLIENT_CERT", "TLS_CLIENT_KEY", "ALLOW_INSECURE")
ELSEWHERE = "192.0.2.1:1"


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(f"LONGSHORE_{name}", raising=False)


def authorization(server: ScriptedServer) -> object:
    return server.calls[-1][2].get("authorization")


def test_the_token_goes_with_every_call_and_may_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = iter(["first", " second\n"])
    with ScriptedServer() as server:  # type: ignore[abstract]
        with longshore.Client(server.address, token=lambda: next(tokens)) as client:
            client.submit(code="1")
            assert authorization(server) == "Bearer first"
            client.submit(code="1")
            assert authorization(server) == "Bearer second"
        file = tmp_path / "token"
        file.write_text("third\n")
        monkeypatch.setenv("LONGSHORE_TOKEN_FILE", str(file))
        with longshore.Client(server.address) as client:
            client.submit(code="1")
            assert authorization(server) == "Bearer third"
        with longshore.Client(server.address, token="given") as client:
            client.submit(code="1")
            assert authorization(server) == "Bearer given"


def test_no_token_is_sent_where_none_is_given() -> None:
    with ScriptedServer() as server, longshore.Client(server.address) as client:  # type: ignore[abstract]
        client.submit(code="1")
        assert authorization(server) is None


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "naïve"])
def test_what_cannot_be_a_token_is_refused_without_showing_it(token: str) -> None:
    with longshore.Client("127.0.0.1:1", token=token) as client, pytest.raises(longshore.BadConnection) as caught:
        client.submit(code="1")
    assert not token or token not in str(caught.value)


def test_a_token_never_goes_in_the_clear_to_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(longshore.BadConnection):
        longshore.Client(ELSEWHERE, token="x")
    longshore.Client(ELSEWHERE, token="x", tls=True).close()
    longshore.Client(ELSEWHERE, token="x", allow_insecure=True).close()
    monkeypatch.setenv("LONGSHORE_TLS", "true")
    longshore.Client(ELSEWHERE, token="x").close()
    with pytest.raises(longshore.BadConnection):
        longshore.Client(ELSEWHERE, token="x", tls=False)


def test_settings_that_do_not_fit_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pem = tmp_path / "x.pem"
    pem.write_text("")
    with pytest.raises(longshore.BadConnection, match="belong together"):
        longshore.Client(tls_cert=pem)
    with pytest.raises(longshore.BadConnection, match="cannot be read"):
        longshore.Client(tls_ca=tmp_path / "nowhere")
    with pytest.raises(longshore.BadConnection, match="give one"):
        longshore.Client(token="x", token_file=pem)
    monkeypatch.setenv("LONGSHORE_TOKEN", "x")
    monkeypatch.setenv("LONGSHORE_TOKEN_FILE", str(pem))
    with pytest.raises(longshore.BadConnection, match="set one"):
        longshore.Client()


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1:1", True),
        ("localhost:1", True),
        ("[::1]:1", True),
        ("unix:/tmp/x", True),
        ("dns:///localhost:1", True),
        ("127.0.0.1.example:1", False),
        ("localhost.example:1", False),
        ("dns:///example.com:1", False),
        ("0.0.0.0:1", False),
    ],
)
def test_what_stays_on_the_machine(address: str, local: bool) -> None:
    assert is_local(address) is local
