"""Options of a task, as the request that asks for it."""

from __future__ import annotations

import difflib
import typing
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from typing_extensions import Unpack

from longshore.v1 import resources_pb2, task_pb2

from .errors import FieldViolation, InvalidRequest
from .option_reader import OptionReader
from .options import RerunOptions, SubmitOptions, TaskOptions

_TEXTS = ("entrypoint", "working_directory", "image")
_LISTS = ("args", "command", "outputs")
_MAPS = ("env", "secret_env", "labels")
_SPANS = ("timeout", "queue_timeout", "total_timeout", "expected_duration", "retention")
_NUMBERS = ("priority", "max_attempts")
_BUDGETS = ("max_processes", "max_open_files", "max_inodes", "max_log_bytes", "max_artifact_bytes")
_RESOURCES = ("cpu", "gpu", "gpu_model", "ram", "storage")


def check_names(function: str, options: Mapping[str, Any], known: type) -> None:
    """Python itself names an unknown argument; behind **options that is left to us, with the name that was meant."""
    names = typing.get_type_hints(known).keys()
    for name in options:
        if name not in names:
            meant = difflib.get_close_matches(name, names, 1)
            hint = f"; did you mean {meant[0]!r}?" if meant else ""
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}{hint}")


def find_violations(**options: Unpack[TaskOptions]) -> Sequence[FieldViolation]:
    """What submit would refuse before it asks the server: for callers that have problems of their own to name beside these."""
    try:
        request_of(options)
    except InvalidRequest as error:
        return error.violations
    return ()


def request_of(options: Mapping[str, Any]) -> task_pb2.CreateTaskRequest:
    """Translates options into the request, all but the program itself; names every option that cannot be translated."""
    check_names("submit", options, SubmitOptions)
    reader = OptionReader(options)
    request = task_pb2.CreateTaskRequest(task_type="execute_code")
    for field in _TEXTS:
        reader.into(request, field, reader.text(field))
    reader.into(request, "display_name", reader.text("name"))
    reader.into(request, "request_id", reader.text("request_id") or str(uuid.uuid4()))
    for field in _LISTS:
        reader.into(request, field, reader.texts(field))
    for field in _MAPS:
        reader.into(request, field, reader.mapping(field))
    for field in _SPANS:
        reader.into(request, field, reader.duration(field))
    for field in _NUMBERS:
        reader.into(request, field, options.get(field))
    reader.into(request, "use_result_cache", options.get("cache"), named="cache")
    reader.into(request, "depends_on", reader.task_ids("depends_on"))
    stdin = options.get("stdin")
    reader.into(request, "stdin", stdin.encode() if isinstance(stdin, str) else stdin)
    reader.into(request, "resources", resources_of(options))
    reader.into(request, "environment", reader.environment())
    reader.into(request, "inputs", reader.inputs())
    reader.into(request, "webhooks", reader.webhooks())
    reader.into(request, "network", reader.enum("network", task_pb2.Network, "NETWORK_"))
    reader.into(request, "isolation", reader.enum("isolation", task_pb2.Isolation, "ISOLATION_"))
    reader.into(request, "require_enforced", reader.limits())
    _take_messages(reader, request)
    reader.finish()
    return request


def _take_messages(reader: OptionReader, request: task_pb2.CreateTaskRequest) -> None:
    options = reader.options
    if any(options.get(field) for field in _BUDGETS):
        for field in _BUDGETS:
            reader.into(request.budgets, field, options.get(field), named=f"budgets.{field}")
    for name in ("placement", "experiment"):
        reader.message(name, getattr(request, name))


def rerun_of(task_id: str, options: RerunOptions) -> Any:
    """What RerunTask takes besides the id of the task."""
    check_names("rerun", options, RerunOptions)
    reader = OptionReader(options)
    facts = {
        "id": task_id,
        "request_id": options.get("request_id") or str(uuid.uuid4()),
        "resources": resources_of(options),
        "timeout": reader.duration("timeout"),
    }
    reader.finish()
    return facts


def resources_of(options: Mapping[str, Any]) -> resources_pb2.Resources | None:
    """Absent when nothing is asked, so that the record shows what was asked."""
    asked = {field: str(options[field]) for field in _RESOURCES if options.get(field) is not None}
    return resources_pb2.Resources(**asked) if asked else None
