"""The same client for asyncio."""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing
from pathlib import Path

import pytest
from cutting_proxy import CuttingProxy

import longshore
from longshore import aio


def test_a_client_made_before_the_loop_runs_many_tasks_at_once(address: str) -> None:
    client = aio.Client(address)

    async def one(number: int) -> str:
        task = await client.submit(code=f"print({number})", cpu=0.2)
        return "".join([line async for line in task.logs()])

    async def main() -> list[str]:
        async with client:
            return await asyncio.gather(*(one(number) for number in range(5)))

    assert asyncio.run(main()) == [f"{number}\n" for number in range(5)]


def test_upload_and_watch_go_on_after_cuts(proxy: CuttingProxy, project: Path) -> None:
    (project / "data.bin").write_bytes(random.randbytes(6 * 2**20))
    (project / "main.py").write_text("for n in range(20000): print('line', n)")
    proxy.cut_after_sent = [2_000_000]
    proxy.cut_after_received = [100_000, 30_000, 50_000]

    async def main() -> tuple[str, list[str]]:
        async with aio.Client(proxy.address) as client:
            task = await client.submit(project, timeout="1m", outputs=["main.py"])
            text = "".join([line async for line in task.logs()])
            await task.result()
            return text, [artifact.path async for artifact in task.artifacts.list()]

    text, artifacts = asyncio.run(main())
    assert text == "".join(f"line {n}\n" for n in range(20000))
    assert artifacts == ["main.py"]
    assert proxy.cuts >= 3


def test_cancelling_the_waiter_leaves_the_task_alone(address: str) -> None:
    async def main() -> str:
        async with aio.Client(address) as client:
            code = "import time; print('up', flush=True); time.sleep(600)"
            task = await client.submit(code=code, timeout="1h")
            async with aclosing(task.logs()) as lines:
                async for _ in lines:
                    break
            waiting = asyncio.ensure_future(task.wait())
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            state = longshore.state_name((await task.get()).state)
            await task.cancel(grace=0)
            assert (await task.result(check=False)).reason == "CANCELLED"
            return state

    assert asyncio.run(main()) in {"preparing", "running"}


def test_errors_are_those_of_the_other_client(address: str) -> None:
    async def main() -> None:
        async with aio.Client(address) as client:
            with pytest.raises(longshore.NotFound):
                await client.task("01J00000000000000000000000").get()
            with pytest.raises(longshore.InvalidRequest) as wrong:
                await client.submit(code="1", ram="512")
            assert [violation.field for violation in wrong.value.violations] == ["resources.ram"]
            with pytest.raises(longshore.TaskFailed):
                await client.run(code="exit(1)")
        with pytest.raises(longshore.LongshoreError, match="client is closed"):
            await client.capacity()
        async with aio.Client("127.0.0.1:1") as nobody:
            with pytest.raises(longshore.Unavailable):
                await nobody.capacity()

    asyncio.run(main())


def test_a_function(address: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "aio_functions.py").write_text("async def double(x):\n    return x * 2\n")
    monkeypatch.syspath_prepend(str(project))
    import aio_functions  # type: ignore[import-not-found]

    async def main() -> object:
        async with aio.Client(address) as client:
            call = await aio.start(aio_functions.double, (21,), client=client)
            return await call.result()

    assert asyncio.run(main()) == 42
