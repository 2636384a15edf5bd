# Made of ../_async/remote.py by scripts/generate; never edited.
"""A function that runs in a sandbox."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from .._core.errors import LongshoreError, NotFound, TaskFailed, is_connection_loss
from .._core.handler import no_result, read_failure, read_result
from .._core.options import LogStream
from .._core.outcome import TaskOutcome
from .._core.remote_entry import RESULT_FILE
from .task import EventCallback, Task


class Call:
    """A call of a function in a sandbox; `task` is the task behind it."""

    def __init__(self, task: Task, name: str) -> None:
        self.task = task
        self.name = name

    def __repr__(self) -> str:
        return f"<longshore.Call {self.name} {self.id}>"

    @property
    def id(self) -> str:
        """The task's id."""
        return self.task.id

    def result(self, on_event: EventCallback | None = None) -> Any:
        """Waits for the end and answers what the function returned.

        Raises RemoteError, with the traceback from there, when the function raised, and TaskFailed when the task ended
        otherwise: a timeout, too little memory, sys.exit.
        """
        outcome = self.task.result(check=False, on_event=on_event)
        if not outcome.succeeded:
            raise self._failure(outcome)
        try:
            return read_result(self.task.artifacts.read(RESULT_FILE))
        except NotFound as error:
            raise no_result(self.id) from error

    def logs(self, *, stream: LogStream | None = None, follow: bool = True) -> Generator[str, None, None]:
        """What the function prints, as Task.logs."""
        return self.task.logs(stream=stream, follow=follow)

    def cancel(self, reason: str = "") -> None:
        """Asks for the end; see Task.cancel."""
        self.task.cancel(reason)

    def _failure(self, outcome: TaskOutcome) -> TaskFailed:
        try:
            return read_failure(outcome, self.task.artifacts.read(RESULT_FILE))
        except LongshoreError as error:
            if is_connection_loss(error):
                raise
            return TaskFailed(outcome)  # it ended before the function could raise, or left what cannot be read
