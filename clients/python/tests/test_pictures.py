"""What is under way and what is held, told again and again."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import aclosing, closing

import pytest
from conftest import ServerControl
from cutting_proxy import CuttingProxy

import longshore

UP = "import time; print('up', flush=True); time.sleep(600)"


def test_a_task_is_under_way_until_it_ends(client: longshore.Client) -> None:
    batch = str(uuid.uuid4())
    seen: list[list[str]] = []
    task: longshore.Task | None = None
    with closing(client.watch_tasks(labels={"batch": batch}, max_tasks=5)) as pictures:
        for picture in pictures:
            assert picture.total_count == len(picture.tasks)
            states = [longshore.state_name(record.state) for record in picture.tasks]
            seen.append(states)
            if task is None:
                task = client.submit(code=UP, cpu=0.2, timeout="1h", labels={"batch": batch})
            elif states == ["running"]:
                assert [record.id for record in picture.tasks] == [task.id]
                task.cancel(grace=0)
            elif states == [] and ["running"] in seen:
                break
    assert seen[0] == []


def test_capacity_is_told_at_once_and_again_after_a_lost_connection(
    proxied: longshore.Client, proxy: CuttingProxy, server_control: ServerControl
) -> None:
    lost: list[Exception] = []
    with closing(proxied.watch_capacity(on_reconnect=lost.append)) as pictures:
        first = next(pictures)
        assert first.total.cpu_millis > 0
        server_control.restart()
        # What came before the connection was lost may still be on its way.
        after = next(picture for picture in pictures if lost)
        assert after.total.cpu_millis == first.total.cpu_millis


def test_what_cannot_be_watched_says_so(client: longshore.Client) -> None:
    with pytest.raises(longshore.NotFound):
        next(client.watch_capacity("moon"))
    with pytest.raises(longshore.InvalidRequest, match=r"labels\.team: name and value must both be text"):
        next(client.watch_tasks(labels={"team": 7}))  # type: ignore[dict-item]
    with longshore.Client("127.0.0.1:1") as nobody, pytest.raises(longshore.Unavailable):
        next(nobody.watch_tasks())


def test_the_report_of_the_last_start(client: longshore.Client) -> None:
    report: longshore.ReconcileReport = client.reconcile_report()
    assert report.start_time.seconds > 0


def test_the_same_for_asyncio(address: str) -> None:
    async def ask() -> None:
        async with longshore.aio.Client(address) as client:
            async with aclosing(client.watch_tasks(labels={"batch": str(uuid.uuid4())})) as pictures:
                assert (await anext(pictures)).total_count == 0
            async with aclosing(client.watch_capacity()) as capacities:
                assert (await anext(capacities)).total.cpu_millis > 0
            assert (await client.reconcile_report()).start_time.seconds > 0

    asyncio.run(ask())
