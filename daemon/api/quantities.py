"""Durations and margins as people write them, and as numbers.

Both are strings in the API, since `2m` and `0.5pp` cannot be misread the way 120 and 0.005 can.
"""

import re
from typing import Final

from analyzers.margins import read as read_margin
from daemon.api.errors import ApiError
from daemon.api.fields import Model

_UNITS: Final = {"h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}  # in milliseconds, so that sums stay exact
_PART: Final = re.compile(r"([0-9]{1,5})(ms|h|m|s)")
_DURATION: Final = re.compile(r"(?:[0-9]{1,5}(?:h|m|s|ms)){1,4}")


class MarginValue(Model, frozen=True, kw_only=True):
    """At most `ratio` times the baseline's rate plus `slack` (a fraction: 0.005 is 0.5 pp)."""

    ratio: float
    slack: float

    def covers(self, other: "MarginValue") -> bool:
        """Is this margin nowhere narrower than `other`?"""
        return self.ratio >= other.ratio and self.slack >= other.slack


def parse_duration(text: str) -> float:
    """Seconds of a Gateway API duration such as `1h30m` or `500ms`."""
    if not _DURATION.fullmatch(text):
        raise ApiError(f"{text!r} is not a duration: write numbers with h, m, s or ms, such as 90s, 2m or 1h30m", reason="InvalidDuration")
    return sum(int(number) * _UNITS[unit] for number, unit in _PART.findall(text)) / 1000


def format_duration(seconds: float) -> str:
    """The shortest duration that says `seconds` to the millisecond."""
    rest = round(seconds * 1000)
    if rest < 0 or rest >= 100_000 * _UNITS["h"]:
        raise ApiError(f"{seconds} s cannot be written as a duration: it must be between 0s and 99999h", reason="InvalidDuration")
    parts = []
    for unit, size in _UNITS.items():
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def parse_margin(text: str) -> MarginValue:
    """`0.5pp` (absolute), `10%` or `1.1x` (relative to the baseline), or a relative and an absolute part: `1.1x+0.02pp`."""
    try:
        ratio, slack = read_margin(text)
    except ValueError as e:
        raise ApiError(str(e), reason="InvalidMargin") from e
    return MarginValue(ratio=ratio, slack=slack)
