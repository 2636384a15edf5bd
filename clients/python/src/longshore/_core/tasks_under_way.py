"""All that has not ended, at one moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from longshore.v1 import task_pb2


@dataclass(frozen=True)
class TasksUnderWay:
    """All that has not ended, at one moment.

    `tasks` are those that were started, oldest first, with what they use so far, then the queue in its order, each with why
    it waits; `total_count` counts those beyond `max_tasks` among them.
    """

    tasks: Sequence[task_pb2.Task]
    total_count: int
