"""A child of the task's uid that does one job of the runner's on the task's files, under a deadline, and answers once."""

import os
import select
import time
from json import dumps, loads

import identity

MAX_ANSWER = 64 << 10


class Helper:
    """`job` runs in the child; the dictionary it returns comes back as `answer`, or None when it did not get that far."""

    def __init__(self, settings, events, reaper, job, keep=()):
        self._events = events
        self._reaper = reaper
        self._from_child, to_parent = os.pipe2(os.O_CLOEXEC)
        self.pid = os.fork()
        if self.pid == 0:
            _work(settings, job, to_parent, keep)
        os.close(to_parent)
        reaper.watch(self.pid)
        self.answer = None
        self.ended = None

    def wait(self, deadline, interrupted):
        """Until the child has ended: true. False when the deadline passed or `interrupted()` said so: then it was killed."""
        data = bytearray()
        poll = select.poll()
        poll.register(self._events.fd, select.POLLIN)
        poll.register(self._from_child, select.POLLIN)
        in_time = True
        while True:
            self._events.clear()
            self._reaper.reap()
            self.ended = self._reaper.ended(self.pid)
            if self.ended is not None:
                break
            if in_time and (time.monotonic() >= deadline or interrupted()):
                in_time = False
                os.kill(self.pid, 9)
            wait_ms = max(1, min(1000, round((deadline - time.monotonic()) * 1000))) if in_time else 1000
            for fd, _ in poll.poll(wait_ms):
                if fd == self._from_child and not self._read(data):
                    poll.unregister(fd)
        while self._read(data):
            pass
        os.close(self._from_child)
        self.answer = _parse(data)
        return in_time

    def _read(self, data):
        part = os.read(self._from_child, MAX_ANSWER)
        if len(data) + len(part) <= MAX_ANSWER:
            data += part
        return len(part) > 0


def _parse(data):
    try:
        answer = loads(bytes(data))
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _work(settings, job, to_parent, keep):
    try:
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        identity.become_task(settings, null, null, null, (to_parent, *keep))
        answer = job(*range(4, 4 + len(keep)))
        os.write(3, dumps(answer).encode("ascii"))
        os._exit(0)
    except BaseException as error:
        # The descriptor may not be in its place yet; an answer that is missing says as much.
        try:
            os.write(3, dumps({"error": "%s: %s" % (type(error).__name__, error)}).encode("ascii"))
        finally:
            os._exit(1)
