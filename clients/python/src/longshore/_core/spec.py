"""Options of a task, as the request that asks for it."""

from __future__ import annotations

import difflib
import typing
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from google.protobuf.duration_pb2 import Duration

from longshore.v1 import resources_pb2, task_pb2

from .duration import parse_millis, to_duration
from .errors import FieldViolation, InvalidRequest
from .inputs import messages_of
from .options import RerunOptions, SubmitOptions

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


def request_of(options: Mapping[str, Any]) -> task_pb2.CreateTaskRequest:
    """Translates options into the request, all but the program itself; names every option that cannot be translated."""
    check_names("submit", options, SubmitOptions)
    reader = _Reader(options)
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


def _take_messages(reader: _Reader, request: task_pb2.CreateTaskRequest) -> None:
    options = reader.options
    if any(options.get(field) for field in _BUDGETS):
        for field in _BUDGETS:
            reader.into(request.budgets, field, options.get(field), named=f"budgets.{field}")
    for name in ("placement", "experiment"):
        for field, value in (options.get(name) or {}).items():
            reader.into(getattr(request, name), field, value, named=f"{name}.{field}")


def rerun_of(task_id: str, options: RerunOptions) -> Any:
    """What RerunTask takes besides the id of the task."""
    check_names("rerun", options, RerunOptions)
    reader = _Reader(options)
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


def duration_option(field: str, value: object) -> Duration | None:
    reader = _Reader({field: value})
    duration = reader.duration(field)
    reader.finish()
    return duration


def enum_values(field: str, names: Iterable[str], enum: Any, prefix: str) -> list[Any]:
    """Values of names in lower case, such as states to list."""
    reader = _Reader({})
    values = [reader.value_of(field, name, enum, prefix) for name in names]
    reader.finish()
    return values


class _Reader:
    """Reads options and gathers what is wrong with them."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = options
        self._violations: list[FieldViolation] = []

    def finish(self) -> None:
        if self._violations:
            raise InvalidRequest(self._violations)

    def wrong(self, field: str, description: str) -> None:
        self._violations.append(FieldViolation(field, description))

    def into(self, message: Any, field: str, value: object, named: str = "") -> None:
        """Sets a field; what has the wrong type is one more violation."""
        if value is None:
            return
        try:
            message.MergeFrom(type(message)(**{field: value}))
        except (TypeError, ValueError) as error:
            self.wrong(named or field, f"cannot be sent: {error}")

    def text(self, field: str) -> str | None:
        value = self.options.get(field)
        if value is not None and not isinstance(value, str):
            self.wrong(field, f"must be text, not {type(value).__name__}")
            return None
        return value

    def texts(self, field: str) -> list[str] | None:
        return self._texts_of(field, self.options.get(field))

    def task_ids(self, field: str) -> list[str] | None:
        """Tasks are given by their ids or as handles."""
        value = self.options.get(field)
        if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
            value = [getattr(item, "id", item) for item in value]
        return self._texts_of(field, value)

    def _texts_of(self, field: str, value: object) -> list[str] | None:
        if value is None:
            return None
        # A string is a sequence of strings too, and never what is meant.
        if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
            self.wrong(field, f'must be a list, such as ["{value}"]' if isinstance(value, str) else "must be a list")
            return None
        wrong = [item for item in value if not isinstance(item, str)]
        if wrong:
            self.wrong(field, f"holds {wrong[0]!r}, which is no text; use str()")
            return None
        return list(value)

    def mapping(self, field: str) -> dict[str, str] | None:
        value = self.options.get(field)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            self.wrong(field, "must be a dict of texts")
            return None
        for key, item in value.items():
            if not isinstance(key, str) or not isinstance(item, str):
                # The value itself may be a secret.
                self.wrong(f"{field}.{key}", "name and value must both be text")
                return None
        return dict(value)

    def duration(self, field: str) -> Duration | None:
        value = self.options.get(field)
        if value is None:
            return None
        millis = parse_millis(value)
        if millis is None:
            self.wrong(field, f'"{value}" needs a number and a unit, such as 30s, 10m or 1h30m')
            return None
        return to_duration(millis)

    def enum(self, field: str, enum: Any, prefix: str) -> int | None:
        name = self.options.get(field)
        return None if name is None else self.value_of(field, name, enum, prefix)

    def limits(self) -> list[int]:
        names = self.texts("require_enforced") or []
        return [self.value_of("require_enforced", name, resources_pb2.Limit, "LIMIT_") for name in names]

    def value_of(self, field: str, name: object, enum: Any, prefix: str) -> int:
        known = {key.removeprefix(prefix).lower(): value for key, value in enum.items() if value != 0}
        value = known.get(str(name).lower())
        if value is None:
            self.wrong(field, f'"{name}" is not one of {", ".join(known)}')
        return int(value or 0)

    def environment(self) -> task_pb2.Environment | None:
        requirements = self.options.get("requirements")
        if requirements is None and self.options.get("preload") is None:
            return None
        lines = requirements if isinstance(requirements, str) else "\n".join(self.texts("requirements") or ())
        preload = self.texts("preload") or ()
        if requirements is not None and not lines and preload:
            # Empty beside modules to preload means the project's own file; a comment means none.
            lines = "# none"
        return task_pb2.Environment(requirements=lines, preload=preload)

    def webhooks(self) -> list[task_pb2.Webhook]:
        value = self.options.get("webhooks") or ()
        if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
            self.wrong("webhooks", 'must be a list, such as ["https://example.com/hook"]')
            return []
        messages = []
        for item in value:
            url, names = (item.get("url"), item.get("states", ())) if isinstance(item, Mapping) else (item, ())
            if not isinstance(url, str):
                self.wrong("webhooks", f"holds {item!r}, which is neither an address nor a dict with url and states")
                continue
            states: list[Any] = [self.value_of("webhooks", name, task_pb2.Task.State, "STATE_") for name in names]
            messages.append(task_pb2.Webhook(url=url, states=states))
        return messages

    def inputs(self) -> list[task_pb2.Input]:
        return list(messages_of(self.options.get("inputs"), self.wrong))
