"""Plays calls of the public methods, as test/support/client-calls.ts lists them: `play_calls.py ADDRESS FOLDER < calls.json`.

Each call carries its place in the list as the header "step"; files lie in the folder. With --asyncio, the client for asyncio.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime
import json
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from typing import Any

import longshore


class Player:
    def __init__(self, folder: str, task_id: str, stream: Callable[[bytes], Any]) -> None:
        self._folder = folder
        self._task_id = task_id
        self._stream = stream

    def call(self, client: Any, call: Mapping[str, Any]) -> Any:
        """Makes one call and answers what it answers: a value, an awaitable or what can be iterated."""
        target = client
        *holders, name = call["method"].split(".")
        for holder in holders:
            target = client.task(self._task_id) if holder == "task" else getattr(target, holder)
        options = self._values(client, call.get("options", {}))
        args = []
        for value in call.get("args", ()):
            # Forms of a source that are arguments of their own.
            if isinstance(value, dict) and "$code" in value:
                options["code"] = value["$code"]
            elif isinstance(value, dict) and "$archive" in value:
                options["archive_sha256"] = value["$archive"]
            else:
                args.append(self._value(client, value))
        return getattr(target, name)(*args, **options)

    def _values(self, client: Any, values: Mapping[str, Any]) -> dict[str, Any]:
        return {key: self._value(client, value) for key, value in values.items()}

    def _value(self, client: Any, value: Any) -> Any:
        if isinstance(value, list):
            return [self._value(client, each) for each in value]
        if not isinstance(value, dict):
            return value
        kind: str
        told: Any
        kind, told = next(iter(value.items()), ("", None))
        read: dict[str, Callable[[], Any]] = {
            "$file": lambda: os.path.join(self._folder, told),
            "$blob": lambda: longshore.Blob(sha256=told),
            "$artifact": lambda: client.task(self._task_id).artifact(told),
            "$time": lambda: datetime.datetime.fromisoformat(told.replace("Z", "+00:00")),
            "$bytes": lambda: base64.b64decode(told),
            "$callback": lambda: lambda *_: True,
            "$stream": lambda: self._stream(told.encode()),
        }
        return read[kind]() if kind in read else self._values(client, value)


@contextlib.contextmanager
def ending_as_told(call: Mapping[str, Any]) -> Iterator[None]:
    try:
        yield
    except longshore.LongshoreError as error:
        if not call.get("refused") or error.code != "UNIMPLEMENTED":
            raise
    else:
        assert not call.get("refused"), f"{call['method']} was to be refused"


def play(calls: list[dict[str, Any]], address: str, folder: str, task_id: str) -> None:
    player = Player(folder, task_id, lambda content: iter([content]))
    for step, call in enumerate(calls):
        with longshore.Client(address, metadata={"step": str(step)}) as client, ending_as_told(call):
            answered = player.call(client, call)
            if isinstance(answered, Iterator):
                next(answered, None)  # some of them have no end
                getattr(answered, "close", lambda: None)()


async def play_asyncio(calls: list[dict[str, Any]], address: str, folder: str, task_id: str) -> None:
    async def stream(content: bytes) -> AsyncIterator[bytes]:
        yield content

    player = Player(folder, task_id, stream)
    for step, call in enumerate(calls):
        async with longshore.aio.Client(address, metadata={"step": str(step)}) as client:
            with ending_as_told(call):
                answered = player.call(client, call)
                if isinstance(answered, AsyncGenerator):
                    await anext(answered, None)
                    await answered.aclose()
                else:
                    await answered


def main() -> None:
    address, folder, task_id = sys.argv[1:4]
    calls = json.load(sys.stdin)
    if sys.argv[4:] == ["--asyncio"]:
        asyncio.run(play_asyncio(calls, address, folder, task_id))
    else:
        play(calls, address, folder, task_id)


if __name__ == "__main__":
    main()
