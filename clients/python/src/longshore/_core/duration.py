"""Times as people write them."""

from __future__ import annotations

import datetime
import math
import re

from google.protobuf.duration_pb2 import Duration

_MILLIS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_WHOLE = re.compile(r"(?:[0-9]{1,9}(?:\.[0-9]{1,3})?(?:ms|[smhd]))+")
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|[smhd])")


def parse_millis(value: object) -> int | None:
    """Milliseconds in "30s", "10m", "1h30m", in a number of seconds or in a timedelta; None when it is no duration."""
    if isinstance(value, datetime.timedelta):
        return round(value.total_seconds() * 1000)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return round(value * 1000) if math.isfinite(value) else None
    if not isinstance(value, str) or _WHOLE.fullmatch(value.strip()) is None:
        return None
    return round(sum(float(amount) * _MILLIS[unit] for amount, unit in _PART.findall(value)))


def to_duration(millis: int) -> Duration:
    duration = Duration()
    duration.FromMilliseconds(millis)
    return duration
