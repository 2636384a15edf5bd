"""Waits between tries."""

from __future__ import annotations

import random
import time

from .errors import TemporaryError


class Backoff:
    """Longer waits each time, spread at random so that a restarted server is not stormed by all clients at once."""

    def __init__(self, give_up_after: float, first: float = 0.1, most: float = 2.0) -> None:
        self._give_up_after = give_up_after
        self._first = first
        self._most = most
        self._failures = 0
        self._first_failure = 0.0

    def reset(self) -> None:
        """Something worked: the next failure is a first one again."""
        self._failures = 0

    def next_delay(self, error: Exception) -> float:
        """Seconds to wait before the next try; raises `error` when it is time to give up."""
        now = time.monotonic()
        if self._failures == 0:
            self._first_failure = now
        grown = min(self._most, self._first * 2.0 ** min(self._failures, 16))
        asked = error.retry_after if isinstance(error, TemporaryError) else 0.0
        delay = max(asked, grown * (0.5 + random.random() / 2))
        if now + delay - self._first_failure > self._give_up_after:
            raise error
        self._failures += 1
        return delay
