"""Notifications, against a real server; nothing can be reached at a name that ends in .invalid."""

from __future__ import annotations

import asyncio
import datetime

import pytest

import longshore

HOOK = "https://hooks.invalid/longshore"


def test_a_webhook_from_its_making_to_its_end(client: longshore.Client) -> None:
    made = client.webhooks.create(HOOK, states=["failed", "cancelled"], description="pager")
    # Where this was the tenant's first, the call also made its secret.
    assert made.secret == "" or made.secret not in repr(made)
    names = [longshore.state_name(state) for state in made.webhook.states]
    assert (made.webhook.url, names, made.webhook.description) == (HOOK, ["failed", "cancelled"], "pager")
    assert made.webhook.id in [webhook.id for webhook in client.webhooks.list()]
    client.webhooks.delete(made.webhook.id)
    assert made.webhook.id not in [webhook.id for webhook in client.webhooks.list()]
    with pytest.raises(longshore.NotFound):
        client.webhooks.delete(made.webhook.id)


def test_a_secret_is_shown_once_and_the_one_before_signs_for_a_while(client: longshore.Client) -> None:
    first = client.webhooks.rotate_secret()
    second = client.webhooks.rotate_secret(overlap="1h")
    assert first.secret.startswith("whsec_")
    assert second.secret not in (first.secret, repr(second))
    assert second.secret not in repr(second)
    assert second.previous_expire_time is not None
    left = second.previous_expire_time - datetime.datetime.now(datetime.timezone.utc)
    assert datetime.timedelta(minutes=55) < left <= datetime.timedelta(minutes=65)


def test_what_a_task_tells_is_listed_and_can_be_sent_again(client: longshore.Client) -> None:
    client.webhooks.rotate_secret()  # without one, a task may not name addresses
    task = client.run(code="print(1)", cpu=0.2, webhooks=[HOOK, {"url": f"{HOOK}/failures", "states": ["failed"]}])
    (delivery,) = client.webhooks.deliveries(task_id=task.id, page_size=1)
    assert (delivery.url, longshore.state_name(delivery.task_state)) == (HOOK, "succeeded")
    assert longshore.delivery_state_name(delivery.state) == "pending"
    assert client.webhooks.redeliver(delivery.id).id == delivery.id
    assert list(client.webhooks.deliveries(task_id=task.id, states=["delivered", "failed"])) == []
    assert list(client.webhooks.deliveries(task_id=task.id, webhook_id="01j")) == []


def test_wrong_values_are_all_named_at_once(client: longshore.Client) -> None:
    with pytest.raises(longshore.InvalidRequest) as wrong:
        client.webhooks.create(7, states=["gone", "done"])  # type: ignore[arg-type, list-item]
    assert [violation.field for violation in wrong.value.violations] == ["url", "states", "states"]
    with pytest.raises(longshore.InvalidRequest, match="url: "):
        client.webhooks.create("http://hooks.invalid")
    with pytest.raises(longshore.InvalidRequest, match='"done" is not one of pending, delivered, failed'):
        list(client.webhooks.deliveries(states=["done"]))  # type: ignore[list-item]
    with pytest.raises(longshore.InvalidRequest, match="overlap: "):
        client.webhooks.rotate_secret(overlap="a while")
    with pytest.raises(longshore.NotFound):
        client.webhooks.redeliver("nothing")


def test_the_same_for_asyncio(address: str) -> None:
    async def ask() -> None:
        async with longshore.aio.Client(address) as client:
            webhook = (await client.webhooks.create(f"{HOOK}/aio")).webhook
            assert webhook.id in [found.id async for found in client.webhooks.list()]
            assert [found async for found in client.webhooks.deliveries(webhook_id=webhook.id)] == []
            await client.webhooks.delete(webhook.id)
            assert (await client.webhooks.rotate_secret()).secret.startswith("whsec_")

    asyncio.run(ask())
