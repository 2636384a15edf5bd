"""Questions about tasks, and what is asked of one, as requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from longshore.v1 import task_pb2, task_service_pb2

from .option_reader import OptionReader
from .options import TimeSpan


def list_request(options: Mapping[str, Any]) -> task_service_pb2.ListTasksRequest:
    """Raises InvalidRequest with every condition that is none."""
    reader = OptionReader(options)
    request = task_service_pb2.ListTasksRequest(
        page_size=options["page_size"],
        states=reader.enums("states", task_pb2.Task.State, "STATE_"),
        reasons=reader.enums("reasons", task_pb2.TaskResult.Reason, "REASON_"),
        labels=reader.mapping("labels"),
        created_after=reader.time("created_after"),
        created_before=reader.time("created_before"),
        owner=reader.text("owner") or "",
        view=_view(reader),
    )
    reader.finish()
    return request


def under_way_request(labels: Mapping[str, str] | None, max_tasks: int) -> task_service_pb2.WatchTasksRequest:
    reader = OptionReader({"labels": labels})
    request = task_service_pb2.WatchTasksRequest(labels=reader.mapping("labels"), max_tasks=max_tasks)
    reader.finish()
    return request


def get_request(task_id: str, view: str) -> task_service_pb2.GetTaskRequest:
    reader = OptionReader({"view": view})
    request = task_service_pb2.GetTaskRequest(id=task_id, view=_view(reader))
    reader.finish()
    return request


def cancel_request(task_id: str, reason: str, grace: TimeSpan | None) -> task_service_pb2.CancelTaskRequest:
    reader = OptionReader({"reason": reason, "grace": grace})
    request = task_service_pb2.CancelTaskRequest(
        id=task_id, reason=reader.text("reason") or "", grace=reader.duration("grace")
    )
    reader.finish()
    return request


def _view(reader: OptionReader) -> Any:
    return reader.enum("view", task_service_pb2.TaskView, "TASK_VIEW_")
