"""What tasks cost, against a real server with prices."""

from __future__ import annotations

import asyncio
import datetime
import uuid
from decimal import Decimal

import pytest

import longshore


def test_money_is_exact() -> None:
    from google.type.money_pb2 import Money

    money = longshore.money_of(Money(currency_code="EUR", units=12, nanos=30_000_001))
    assert money == longshore.Money(Decimal("12.030000001"), "EUR")
    assert str(money) == "12.030000001 EUR"
    assert str(longshore.money_of(Money(currency_code="EUR", nanos=1))) == "0.000000001 EUR"


def test_a_task_tells_its_cost_and_the_ledger_adds_up_to_it(client: longshore.Client) -> None:
    batch = str(uuid.uuid4())
    task = client.run(code="import time; time.sleep(0.1)", cpu=1, ram="64MB", labels={"batch": batch})
    if task.cost is None:
        pytest.skip("nothing has a price on this server")
    assert task.cost.amount > 0
    report = client.usage(by="label:batch", labels={"batch": batch})
    assert list(report.groups) == [batch]
    assert report.costs == [task.cost]
    assert report.total.attempts == 1
    (entry,) = client.usage_entries(labels={"batch": batch})
    assert (entry.task_id, longshore.reason_name(entry.reason)) == (task.id, "EXITED")
    assert longshore.money_of(entry.cost) == task.cost
    tomorrow = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=1)
    assert client.usage(since=tomorrow).total.attempts == 0


def test_an_estimate_is_a_bound(client: longshore.Client) -> None:
    estimate = client.estimate(code="print(1)", cpu=2, ram="1GB", timeout="1h")
    assert estimate.resources.cpu_millis == 2000
    assert estimate.longest_time.ToSeconds() == 3600
    with pytest.raises(longshore.InvalidRequest) as caught:
        client.estimate(ram="512")
    assert [violation.field for violation in caught.value.violations] == ["resources.ram"]


def test_a_grouping_that_is_none_is_refused(client: longshore.Client) -> None:
    with pytest.raises(longshore.InvalidRequest, match="label:KEY"):
        client.usage(by="week")


def test_the_same_for_asyncio(address: str) -> None:
    async def ask() -> int:
        async with longshore.aio.Client(address) as client:
            rows = [entry async for entry in client.usage_entries()]
            report = await client.usage(by="day")
            await client.estimate(cpu=1)
            assert list(await client.quota()) == []
            assert sum(group.attempts for group in report.groups.values()) == report.total.attempts
            return len(rows)

    assert asyncio.run(ask()) >= 0
