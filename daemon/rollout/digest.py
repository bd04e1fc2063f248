"""The weekly digest: when it is due by its reader's clock, and what it says. Pure; who reads it and what was sent is for the shell to know."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from daemon.api.calendar import DAY_END, ReleaseWindow
from daemon.api.sources import Digest
from daemon.api.status import HistoryEntry
from daemon.rollout.clock import epoch
from daemon.rollout.model import Fact
from daemon.rollout.timetable import next_opening

AT: Final = "09:00"
DAY: Final = "Mon"
OUTCOMES: Final = {
    "WouldRollBack": "would have been rolled back",
    "WouldPromote": "would have been promoted",
    "WouldAsk": "would have been left to a person",
    "TooShort": "too short to tell",
    "NoData": "could not be judged",
    "Superseded": "replaced before anything was proven",
    "TakenBack": "taken back by its people before anything was proven",
}


class Line(Fact, frozen=True, kw_only=True):
    """One update that was observed."""

    where: str  # namespace/name
    entry: HistoryEntry


def next_due(digest: Digest, since: float) -> float | None:
    """The first moment of the digest after `since`; by the wall clock, so that a change to summer time moves nothing."""
    day = ReleaseWindow(time_zone=digest.time_zone, days=[digest.day or DAY], opens=digest.at or AT, closes=DAY_END)
    return next_opening(day, since)


def lines(where: str, history: Sequence[HistoryEntry], since: float) -> list[Line]:
    """What of a Canary's history was observed after `since`."""
    return [Line(where=where, entry=e) for e in history if e.outcome in OUTCOMES and e.ended_at is not None and epoch(e.ended_at) > since]


def sentence(found: Sequence[Line], watched: int) -> str:
    """Such as 'Linnet observed 3 updates of 2 workloads: 1 would have been rolled back, 2 would have been promoted.'"""
    if not found:
        return f"Linnet observed no update of the {watched} {_words(watched, 'workload')} that it watches. It changed nothing."
    counts = Counter(line.entry.outcome for line in found)
    parts = ", ".join(f"{counts[o]} {words}" for o, words in OUTCOMES.items() if counts[o])
    workloads = len({line.where for line in found})
    updates = f"{len(found)} {_words(len(found), 'update')} of {workloads} {_words(workloads, 'workload')}"
    return f"Linnet observed {updates}: {parts}. It changed nothing."


def facts(found: Sequence[Line]) -> tuple[tuple[str, str], ...]:
    """One line for each update, what would have been stopped first, then the newest."""
    order = sorted(found, key=lambda line: line.entry.ended_at or "", reverse=True)
    order.sort(key=lambda line: list(OUTCOMES).index(line.entry.outcome))
    return tuple((f"{line.where} {line.entry.revision}", line.entry.sentence or OUTCOMES[line.entry.outcome]) for line in order)


def _words(number: int, word: str) -> str:
    return word if number == 1 else f"{word}s"
