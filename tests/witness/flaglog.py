"""Unleash's own record of who did what to a flag, in what order.

It is written by Unleash in the transaction of each change and knows nothing of Linnet, so it can testify against it: what was written
before what, by whom, and what was never touched. Times are those of the database, so they can be laid beside the API server's log.

    log = FlagLog.read(url, token, "new-checkout").on("production")
    log.raises()   # every write after which somebody more could have the flag
"""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

PAGE = 100


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One event; `before` and `after` are whole strategies where the event is about one."""

    id: int
    time: float
    kind: str
    user: str
    flag: str
    environment: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None

    @property
    def title(self) -> str:
        return str((self.after or self.before or {}).get("title") or "")

    @property
    def words(self) -> str:
        """For comparisons of order: `strategy-update checkout#all 0 -> 20`, `environment-enabled`."""
        kind = self.kind.removeprefix("feature-")
        if not kind.startswith("strategy-"):
            return kind
        return f"{kind} {self.title} {rollout(self.before)} -> {rollout(self.after)}"


def rollout(strategy: dict[str, Any] | None) -> str:
    """The percent of a strategy as it was stored, `-` where there is none."""
    return str((strategy or {}).get("parameters", {}).get("rollout", "-"))


def reach(strategy: dict[str, Any] | None) -> int:
    """How many percent an enabled strategy lets in, 0 for none."""
    if strategy is None or strategy.get("disabled"):
        return 0
    if strategy["name"] == "default":
        return 100
    found = rollout(strategy)
    return int(found) if found.isdigit() else 0


class FlagLog:
    """An ordered selection of events; every filter gives a smaller one."""

    def __init__(self, entries: list[Entry]) -> None:
        self.entries = entries

    @classmethod
    def read(cls, url: str, token: str, flag: str) -> Self:
        """All events of a flag, oldest first."""
        found: list[dict[str, Any]] = []
        while True:
            query = urllib.parse.urlencode({"feature": f"IS:{flag}", "limit": PAGE, "offset": len(found)})
            asked = urllib.request.Request(f"{url}/api/admin/search/events?{query}", headers={"Authorization": token})
            with urllib.request.urlopen(asked, timeout=15) as answer:
                page = json.loads(answer.read())["events"]
            found += page
            if len(page) < PAGE:
                break
        return cls(sorted((parse(event) for event in found), key=lambda entry: entry.id))

    def where(self, keep: Callable[[Entry], bool]) -> Self:
        return type(self)([entry for entry in self.entries if keep(entry)])

    def on(self, environment: str) -> Self:
        return self.where(lambda entry: entry.environment == environment)

    def by(self, user: str) -> Self:
        return self.where(lambda entry: entry.user == user)

    def after(self, identity: int) -> Self:
        """What came after the event with this id."""
        return self.where(lambda entry: entry.id > identity)

    def between(self, since: float, until: float = float("inf")) -> Self:
        return self.where(lambda entry: since <= entry.time < until)

    def raises(self) -> Self:
        """Strategy writes that let in more, or let in others: a gate or a constraint that went."""
        return self.where(lambda entry: entry.kind.startswith("feature-strategy-") and _wider(entry.before, entry.after))

    def zeroes(self) -> Self:
        """Strategy writes after which nobody has the flag through that strategy, and somebody had before."""
        return self.where(lambda entry: reach(entry.before) > 0 and reach(entry.after) == 0)

    def order(self) -> list[str]:
        return [entry.words for entry in self.entries]

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


def _wider(before: dict[str, Any] | None, after: dict[str, Any] | None) -> bool:
    if reach(after) > reach(before):
        return True
    kept = (after or {}).get("constraints") or []
    return reach(after) > 0 and any(constraint not in kept for constraint in (before or {}).get("constraints") or [])


def parse(event: dict[str, Any]) -> Entry:
    return Entry(
        id=event["id"],
        time=datetime.fromisoformat(event["createdAt"]).timestamp(),
        kind=event["type"],
        user=event["createdBy"],
        flag=event["featureName"] or "",
        environment=event["environment"] or "",
        before=event["preData"],
        after=event["data"],
    )
