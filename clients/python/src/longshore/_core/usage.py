"""What was used and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from google.type.money_pb2 import Money as MoneyMessage

from longshore.v1 import usage_service_pb2

from .errors import FieldViolation, InvalidRequest
from .option_reader import OptionReader

MOST_PER_PAGE = 1000

_GROUPINGS = {
    "day": usage_service_pb2.USAGE_GROUPING_DAY,
    "task": usage_service_pb2.USAGE_GROUPING_TASK,
    "owner": usage_service_pb2.USAGE_GROUPING_OWNER,
}


@dataclass(frozen=True)
class Money:
    """An exact amount, to a billionth of its currency."""

    amount: Decimal
    currency: str

    def __str__(self) -> str:
        return f"{self.amount:f} {self.currency}"


@dataclass(frozen=True)
class UsageReport:
    """Sums over the attempts that ended in a range of time."""

    total: usage_service_pb2.UsageSum
    # By key, ascending: a day such as "2026-11-21", a task's id, an owner, or a label's value ("" without it).
    groups: Mapping[str, usage_service_pb2.UsageSum]

    @property
    def costs(self) -> list[Money]:
        """What all of it cost, once for each currency; empty where nothing has a price."""
        return [money_of(cost) for cost in self.total.costs]


def money_of(message: MoneyMessage) -> Money:
    """The amount of a google.type.Money."""
    return Money(Decimal(message.units) + Decimal(message.nanos).scaleb(-9), message.currency_code)


def grouping_of(by: str | None) -> tuple[usage_service_pb2.UsageGrouping.ValueType, str]:
    """What `by` names, and the label's key for "label:KEY". Raises InvalidRequest."""
    if by is None:
        return usage_service_pb2.USAGE_GROUPING_UNSPECIFIED, ""
    if by in _GROUPINGS:
        return _GROUPINGS[by], ""
    if by.startswith("label:") and by != "label:":
        return usage_service_pb2.USAGE_GROUPING_LABEL, by.removeprefix("label:")
    raise InvalidRequest([FieldViolation("by", f"{by!r} is not one of day, task, owner, label:KEY")])


def filter_of(options: Mapping[str, Any]) -> usage_service_pb2.UsageFilter:
    """Raises InvalidRequest with every condition that is none."""
    reader = OptionReader(options)
    found = usage_service_pb2.UsageFilter(
        start_time=reader.time("since"),
        end_time=reader.time("until"),
        owner=reader.text("owner") or "",
        labels=reader.mapping("labels"),
    )
    reader.finish()
    return found
