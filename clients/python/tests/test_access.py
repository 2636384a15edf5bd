"""Tokens and the audit log, against a real server."""

from __future__ import annotations

import asyncio
import datetime
import uuid

import pytest

import longshore


def test_whom_the_server_takes_us_for(client: longshore.Client) -> None:
    caller: longshore.CallerRecord = client.access.caller()
    assert (caller.tenant, caller.subject, caller.credential) == ("default", "local", "local")
    assert "admin" in caller.scopes


def test_a_token_from_its_making_to_its_end(client: longshore.Client) -> None:
    subject = f"bot-{uuid.uuid4()}"
    made = client.access.create_token(["tasks:read", "blobs"], subject=subject, description="nightly", lifetime="1h")
    assert made.secret.startswith(f"lsh_{made.token.id}_")
    assert made.secret not in repr(made)
    token = made.token
    assert (token.subject, list(token.scopes), token.description) == (subject, ["tasks:read", "blobs"], "nightly")
    assert token.expire_time.ToSeconds() - token.create_time.ToSeconds() == 3600
    other = client.access.create_token(["usage"], lifetime=datetime.timedelta(days=2))
    # One at a time, so that a second page is read.
    listed = [found.id for found in client.access.tokens(page_size=1)]
    assert listed.index(other.token.id) < listed.index(token.id)
    for _ in range(2):
        assert client.access.revoke_token(token.id).HasField("revoke_time")
    assert [found.id for found in client.access.tokens(tenant="nobody")] == []


def test_wrong_values_are_all_named_at_once(client: longshore.Client) -> None:
    with pytest.raises(longshore.InvalidRequest) as wrong:
        client.access.create_token("admin", subject=7, lifetime="soon")  # type: ignore[arg-type]
    assert [violation.field for violation in wrong.value.violations] == ["subject", "scopes", "lifetime"]
    with pytest.raises(longshore.InvalidRequest) as refused:
        client.access.create_token(["adm"], description="x" * 300)
    assert {violation.field for violation in refused.value.violations} == {"scopes", "description"}
    with pytest.raises(longshore.NotFound):
        client.access.revoke_token("nothing")
    with pytest.raises(longshore.InvalidRequest, match=r"since: must be a datetime\.datetime"):
        list(client.access.audit_events(since="yesterday"))  # type: ignore[arg-type]


def test_what_was_done_is_in_the_audit_log(client: longshore.Client) -> None:
    before = datetime.datetime.now(datetime.timezone.utc)
    token = client.access.create_token(["usage"]).token
    client.access.revoke_token(token.id)
    events = [event for event in client.access.audit_events(since=before, page_size=1) if event.resource == token.id]
    assert [event.action for event in events] == ["token.create", "token.revoke"]
    assert [event.subject for event in events] == ["local", "local"]
    assert list(client.access.audit_events(until=before - datetime.timedelta(days=1))) == []


def test_the_same_for_asyncio(address: str) -> None:
    async def ask() -> None:
        async with longshore.aio.Client(address) as client:
            made = await client.access.create_token(["blobs"])
            assert made.token.id in [token.id async for token in client.access.tokens()]
            assert (await client.access.revoke_token(made.token.id)).id == made.token.id
            assert (await client.access.caller()).subject == "local"
            actions = {event.action async for event in client.access.audit_events()}
            assert {"token.create", "token.revoke"} <= actions

    asyncio.run(ask())
