"""Where asyncio and threads differ, but for gRPC itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

__all__ = ["closing", "in_thread", "sleep"]

sleep = time.sleep


def in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """The caller's own thread may block."""
    return function(*args, **kwargs)
