"""Where asyncio and threads differ, but for gRPC itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

__all__ = ["aclosing", "in_thread", "sleep"]

sleep = asyncio.sleep


async def in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Runs what blocks (files, digests) beside the event loop."""
    return await asyncio.to_thread(function, *args, **kwargs)
