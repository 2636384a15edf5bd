# Made of ../_async/usage.py by scripts/generate; never edited.
"""What was used and what it costs."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

from longshore.v1 import usage_service_pb2

from .._core.usage import MOST_PER_PAGE, UsageReport, filter_of, grouping_of
from .channel import Channel


def read_usage(channel: Channel, by: str | None, options: Mapping[str, Any]) -> UsageReport:
    grouping, label = grouping_of(by)
    request = usage_service_pb2.GetUsageRequest(
        filter=filter_of(options), grouping=grouping, label=label, page_size=MOST_PER_PAGE
    )
    total: usage_service_pb2.UsageSum | None = None
    groups: dict[str, usage_service_pb2.UsageSum] = {}
    for page in channel.pages(channel.usage.GetUsage, request):
        total = page.total if total is None else total
        groups.update({group.key: group.sum for group in page.groups})
    return UsageReport(total or usage_service_pb2.UsageSum(), groups)


def list_usage(channel: Channel, options: Mapping[str, Any]) -> Generator[usage_service_pb2.UsageEntry, None, None]:
    request = usage_service_pb2.ListUsageRequest(filter=filter_of(options), page_size=MOST_PER_PAGE)
    for page in channel.pages(channel.usage.ListUsage, request):
        for entry in page.entries:
            yield entry
