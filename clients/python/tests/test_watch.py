"""A watch that loses its connection, and its server."""

from __future__ import annotations

import threading

from conftest import ServerControl
from cutting_proxy import CuttingProxy

import longshore
from longshore import GapEvent, LogEvent, TaskChanged

# Both streams, with characters of several bytes, faster and slower than they are read.
LINES = 20_000
CODE = f"""
import sys, time
for n in range({LINES}):
    sys.stdout.write(f"out {{n}} äöü€ 😀\\n")
    sys.stderr.write(f"err {{n}} ✓\\n")
    if n % 2000 == 0:
        sys.stdout.flush()
        time.sleep(0.05)
"""
OUT = "".join(f"out {n} äöü€ 😀\n" for n in range(LINES)).encode()
ERR = "".join(f"err {n} ✓\n" for n in range(LINES)).encode()


def joined(events: list[longshore.TaskEvent], stream: str) -> bytes:
    parts = [event for event in events if isinstance(event, LogEvent) and event.stream == stream]
    position = 0
    for part in parts:
        assert part.offset == position
        position += len(part.data)
    return b"".join(part.data for part in parts)


def assert_whole(events: list[longshore.TaskEvent]) -> None:
    assert not any(isinstance(event, GapEvent) for event in events)
    assert joined(events, "stdout") == OUT
    assert joined(events, "stderr") == ERR
    last = events[-1]
    assert isinstance(last, TaskChanged)
    assert longshore.is_terminal(last.task)
    assert sum(isinstance(event, TaskChanged) and longshore.is_terminal(event.task) for event in events) == 1


def test_goes_on_at_the_exact_byte_when_the_connection_is_cut(proxied: longshore.Client, proxy: CuttingProxy) -> None:
    proxy.cut_after_received = [20_000 + 3_517 * n for n in range(12)]
    lost: list[Exception] = []
    task = proxied.submit(code=CODE, timeout="2m")
    assert_whole(list(task.watch(on_reconnect=lost.append)))
    assert proxy.cuts == 12
    assert lost


def test_goes_on_when_the_server_is_killed_and_started_again(
    client: longshore.Client, server_control: ServerControl
) -> None:
    task = client.submit(code=CODE, timeout="2m")
    events: list[longshore.TaskEvent] = []
    for event in task.watch():
        if isinstance(event, LogEvent) and not any(isinstance(seen, LogEvent) for seen in events):
            restarting = threading.Thread(target=server_control.restart)
            restarting.start()
        events.append(event)
    restarting.join()
    assert_whole(events)
    assert len(task.get().attempts) == 1


def test_begins_after_a_cursor_and_can_end_early(client: longshore.Client) -> None:
    task = client.submit(code=CODE, timeout="2m").wait()
    events: list[longshore.TaskEvent] = []
    while not events or not isinstance(events[-1], TaskChanged) or not longshore.is_terminal(events[-1].task):
        for count, event in enumerate(task.watch(events[-1].cursor if events else "")):
            events.append(event)
            if count == 2:
                break
    assert joined(events, "stdout") == OUT
    tail = joined_tail(list(task.watch(tail_bytes=100)))
    assert tail == OUT[-len(tail) :]
    assert 0 < len(tail) <= 100


def joined_tail(events: list[longshore.TaskEvent]) -> bytes:
    return b"".join(event.data for event in events if isinstance(event, LogEvent) and event.stream == "stdout")


def test_what_is_there_now_alone(client: longshore.Client) -> None:
    task = client.submit(code="import time; print('up', end='', flush=True); time.sleep(600)", timeout="1h")
    for event in task.watch():
        if isinstance(event, LogEvent):
            break
    assert list(task.logs(follow=False)) == ["up"]
    task.cancel(grace=0)
    assert list(task.logs(stream="stderr")) == []


def test_a_line_comes_when_it_is_written(client: longshore.Client) -> None:
    code = "import sys\nprint('first', flush=True)\nwhile True: pass"
    task = client.submit(code=code, timeout="1h")
    lines = task.logs()
    assert next(lines) == "first\n"
    task.cancel(grace=0)
    assert list(lines) == []


def test_closing_the_client_ends_a_watch(address: str) -> None:
    client = longshore.Client(address)
    task = client.submit(code="import time; print('up', flush=True); time.sleep(600)", timeout="1h")
    failures: list[Exception] = []

    def read() -> None:
        try:
            for line in task.logs():
                if line == "up\n":
                    up.set()
        except longshore.LongshoreError as error:
            failures.append(error)

    up = threading.Event()
    reader = threading.Thread(target=read)
    reader.start()
    up.wait()
    client.close()
    reader.join()
    assert [error.reason for error in failures if isinstance(error, longshore.LongshoreError)] == ["CLOSED"]
    with longshore.Client(address) as other:
        other.task(task.id).cancel(grace=0)
