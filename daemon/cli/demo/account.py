"""What the load generator counted, put in order: requests and failures by version, track and flag, and what a rollback saved.

Pure: counts in, numbers out. The daemon's own figures are never used here, so that the two can be compared.
"""

from collections import Counter
from collections.abc import Mapping

import msgspec

from daemon.cli.demo.script import Outcome, Release
from daemon.sandbox.load import Outcome as Answer


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table; `flag` is that of the build's own feature. No version means that no pod answered."""

    version: str
    track: str
    flag: str
    requests: int
    failed: int


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """What the release would have cost at 100 %, with the failure rate that the load generator met behind the flag.

    `requests` is everything that the shop was asked while the canary served.
    """

    requests: int
    failed: int
    would_have_failed: int
    saved: int
    failing_per_minute: int


class Odds(msgspec.Struct, frozen=True, kw_only=True):
    """A metric's evidence as the daemon published it with its decision."""

    metric: str
    worse: str
    fine: str
    bound: str


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one release."""

    release: Release
    outcome: Outcome
    revision: str
    seconds: float
    sentence: str
    odds: tuple[Odds, ...] = ()
    rows: tuple[Row, ...] = ()
    saved: Saved | None = None

    @property
    def as_expected(self) -> bool:
        return self.outcome == self.release.expected


def rows(counts: Mapping[Answer, int]) -> tuple[Row, ...]:
    """Sorted: versions as they came, the canary before the rest, the open flag first."""
    total: Counter[tuple[str, str, str]] = Counter()
    failed: Counter[tuple[str, str, str]] = Counter()
    for answer, count in counts.items():
        # Pods of the user's own Deployment have no track label: they are stable.
        key = (answer.version, (answer.track or "stable") if answer.version else "none", answer.flag if answer.version else "none")
        total[key] += count
        failed[key] += count if answer.failed else 0
    order = sorted(total, key=lambda key: (key[0] or "~", key[1], key[2] != "on"))
    return tuple(Row(version=v, track=t, flag=f, requests=total[v, t, f], failed=failed[v, t, f]) for v, t, f in order)


def since(before: Mapping[Answer, int], now: Mapping[Answer, int]) -> Counter[Answer]:
    """What was counted in between."""
    return Counter({answer: count - before.get(answer, 0) for answer, count in now.items() if count > before.get(answer, 0)})


def saved(found: tuple[Row, ...], release: Release, *, asked: int, rate: float) -> Saved:
    """`asked`: requests of the whole shop from the build's first answer to its last."""
    own = [r for r in found if r.version == release.tag]
    exposed = sum(r.requests for r in own if r.flag == "on")
    harmed = sum(r.failed for r in own if r.flag == "on")
    failed = sum(r.failed for r in own)
    share = harmed / exposed if exposed else 0.0
    would = round(asked * share)
    return Saved(
        requests=asked, failed=failed, would_have_failed=would, saved=max(0, would - failed), failing_per_minute=round(rate * 60 * share)
    )


def unexpected(found: tuple[Row, ...], bad: frozenset[str]) -> int:
    """Failures that no bad build explains: each would be the fault of a switch, or of the demo."""
    return sum(r.failed for r in found if not (r.version in bad and r.flag == "on"))
