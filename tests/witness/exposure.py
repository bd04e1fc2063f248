"""Who had a flag, when, and on which pods: what the app itself logged of each request.

A user is `reached` where the bucket rule lets them in. A pod learns of a change by its SDK's next poll, each at a moment of its own: so
what is asked is never one moment for all pods, but what one pod, or one user from a moment on, was given in a row.

    seen = Exposure(app_records(folder), reached=lambda user: ...)
    seen.lost()   # had it, lost it, on a pod that could have kept it
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

Record = dict[str, Any]


class Exposure:
    """Requests of known users, by time."""

    def __init__(self, records: Iterable[Record], *, reached: Callable[[str], bool]) -> None:
        self.records = sorted(records, key=lambda record: record["time"])
        self._reached = {user: reached(user) for user in {record["user"] for record in self.records}}

    @property
    def users_reached(self) -> int:
        return sum(self._reached.values())

    def unreached_with_flag(self) -> list[Record]:
        """Answers with the flag to users whom the rule leaves out."""
        return [record for record in self.records if record["flag"] and not self._reached[record["user"]]]

    def with_flag_outside(self, track: str, *, before: float) -> list[Record]:
        """Answers with the flag from pods of another track, before a moment."""
        return [record for record in self.records if record["flag"] and record["track"] != track and record["time"] < before]

    def without_flag(self, *, since: float) -> list[Record]:
        """Answers without the flag to users who are reached, from a moment on."""
        return [record for record in self.records if self._reached[record["user"]] and not record["flag"] and record["time"] >= since]

    def lost(self) -> list[Record]:
        """Answers without the flag to a reached user, from a pod that had given it to one before: on, off (and perhaps on again)."""
        gave: dict[str, bool] = defaultdict(bool)
        found = []
        for record in self.records:
            if not self._reached[record["user"]]:
                continue
            if gave[record["pod"]] and not record["flag"]:
                found.append(record)
            gave[record["pod"]] |= bool(record["flag"])
        return found
