"""Margins as people write them: one grammar for the API, the judge's options and every message.

It imports nothing heavy, since `linnet lint` and admission read margins without a judge.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

FORMS: Final = "write 0.5pp (percentage points), 10% (relative), 1.1x (factor), or a relative and an absolute part as 1.1x+0.02pp"
_PART: Final = re.compile(r"\s*(\d{1,4}(?:\.\d{1,4})?)\s*(pp|%|x)\s*", re.ASCII)


class Allowance(NamedTuple):
    """At most `ratio` times the baseline plus `slack` (a fraction: 0.005 is 0.5 pp)."""

    ratio: float
    slack: float


def read(text: str) -> Allowance:
    """ValueError with what is wrong and how it is written."""
    ratio, slack, seen = 1.0, 0.0, set[bool]()
    for part in text.split("+"):
        found = _PART.fullmatch(part)
        absolute = found is not None and found[2] == "pp"
        if found is None or absolute in seen:
            raise ValueError(f"{text!r} is not a margin: {FORMS}")
        seen.add(absolute)
        number = float(found[1])
        if absolute:
            slack = round(number / 100, 9)
        else:
            ratio = number if found[2] == "x" else round(1 + number / 100, 9)
    if ratio < 1:
        raise ValueError(f"{text!r}: a factor below 1x would refuse a canary as good as stable; write 1.1x or 10% for 'a tenth worse'")
    if slack > 1:
        raise ValueError(f"{text!r} is more than 100pp: a rate cannot be that much worse")
    return Allowance(ratio, slack)
