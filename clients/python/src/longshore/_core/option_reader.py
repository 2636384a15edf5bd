"""Options as messages take them."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from longshore.v1 import resources_pb2, task_pb2

from .duration import parse_millis, to_duration
from .errors import FieldViolation, InvalidRequest
from .inputs import messages_of


class OptionReader:
    """Reads options and gathers what is wrong with them."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = options
        self._violations: list[FieldViolation] = []

    def finish(self) -> None:
        if self._violations:
            raise InvalidRequest(self._violations)

    def wrong(self, field: str, description: str) -> None:
        self._violations.append(FieldViolation(field, description))

    def message(self, field: str, message: Any) -> None:
        """Sets the fields of a message from a dict with their names."""
        value = self.options.get(field)
        if value is None:
            return
        if not isinstance(value, Mapping):
            self.wrong(field, "must be a dict")
            return
        known = message.DESCRIPTOR.fields_by_name
        for name, inner in value.items():
            if name in known:
                self.into(message, name, inner, named=f"{field}.{name}")
            else:
                self.wrong(f"{field}.{name}", f"is none of {', '.join(known)}")

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

    def time(self, field: str) -> Timestamp | None:
        value = self.options.get(field)
        if value is None:
            return None
        if not isinstance(value, datetime.datetime):
            self.wrong(field, f"must be a datetime.datetime, not {type(value).__name__}")
            return None
        stamp = Timestamp()
        # A time without a zone means the local one, as everywhere in datetime; protobuf alone would take it for UTC.
        stamp.FromDatetime(value.astimezone(datetime.timezone.utc))
        return stamp

    def enums(self, field: str, enum: Any, prefix: str) -> list[Any]:
        """Values of names in lower case, such as states to list."""
        return [self.value_of(field, name, enum, prefix) for name in self.texts(field) or ()]

    def enum(self, field: str, enum: Any, prefix: str) -> int | None:
        name = self.options.get(field)
        return None if name is None else self.value_of(field, name, enum, prefix)

    def limits(self) -> list[int]:
        return self.enums("require_enforced", resources_pb2.Limit, "LIMIT_")

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
            known = self._texts_of("webhooks.states", names) or ()
            states: list[Any] = [self.value_of("webhooks", name, task_pb2.Task.State, "STATE_") for name in known]
            messages.append(task_pb2.Webhook(url=url, states=states))
        return messages

    def inputs(self) -> list[task_pb2.Input]:
        return list(messages_of(self.options.get("inputs"), self.wrong))
