"""How a task ended."""

from __future__ import annotations

from dataclasses import dataclass

from longshore.v1 import task_pb2

from .names import reason_name, state_name

_TERMINAL = (task_pb2.Task.STATE_SUCCEEDED, task_pb2.Task.STATE_FAILED, task_pb2.Task.STATE_CANCELLED)


@dataclass(frozen=True)
class TaskOutcome:
    """How a task ended, as a record, not as an exception.

    `reason` is longshore.v1.TaskResult.Reason without its prefix, such as "EXITED"; `message` one sentence on what happened,
    `advice` one on what to do next, perhaps empty; the tails are the last 4 KiB of each stream.
    """

    id: str
    state: str
    succeeded: bool
    reason: str
    exit_code: int | None
    signal: int | None
    message: str
    advice: str
    stdout_tail: str
    stderr_tail: str
    record: task_pb2.Task


def is_terminal(record: task_pb2.Task) -> bool:
    """Whether the task has ended; its state, result and usage never change then."""
    return record.state in _TERMINAL


def outcome_of(record: task_pb2.Task) -> TaskOutcome:
    result = record.result
    return TaskOutcome(
        id=record.id,
        state=state_name(record.state),
        succeeded=record.state == task_pb2.Task.STATE_SUCCEEDED,
        reason=reason_name(result.reason) if record.HasField("result") else "",
        exit_code=result.exit_code if result.HasField("exit_code") else None,
        signal=result.signal if result.HasField("signal") else None,
        message=result.message,
        advice=result.advice,
        stdout_tail=result.stdout_tail,
        stderr_tail=result.stderr_tail,
        record=record,
    )
