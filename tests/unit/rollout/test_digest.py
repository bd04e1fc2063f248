"""The weekly digest: due by the reader's wall clock, and what it says of a week."""

from __future__ import annotations

from datetime import datetime

import pytest

from daemon.api.sources import Digest
from daemon.api.status import HistoryEntry
from daemon.rollout import digest


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("since", "due"),
    [
        ("2026-03-25T12:00:00+01:00", "2026-03-30T09:00:00+02:00"),  # over the change to summer time: still 9 o'clock
        ("2026-03-30T08:59:00+02:00", "2026-03-30T09:00:00+02:00"),
        ("2026-03-30T09:00:00+02:00", "2026-04-06T09:00:00+02:00"),
        ("2026-03-30T15:00:00+02:00", "2026-04-06T09:00:00+02:00"),  # one that was late moves none of those after it
    ],
)
def test_it_is_due_at_its_wall_time_once_a_week(since: str, due: str) -> None:
    """Monday at nine in Berlin, whatever the clock does meanwhile."""
    assert digest.next_due(Digest(time_zone="Europe/Berlin"), at(since)) == at(due)


def test_day_and_time_are_the_readers() -> None:
    """Friday afternoon, where that is wanted."""
    wanted = Digest(time_zone="UTC", day="Fri", at="16:30")
    assert digest.next_due(wanted, at("2026-03-25T12:00:00+00:00")) == at("2026-03-27T16:30:00+00:00")


def entry(outcome: str, revision: str, ended: str = "2026-03-26T10:00:00Z") -> HistoryEntry:
    return HistoryEntry(revision=revision, outcome=outcome, sentence=f"web {revision} {outcome}", started_at=ended, ended_at=ended)


def test_it_lists_what_was_observed_since_the_last_and_what_would_have_been_stopped_first() -> None:
    """Releases of Linnet's own, and what the last digest told, are not in it."""
    history = [
        entry("WouldPromote", "a"),
        entry("WouldRollBack", "b"),
        entry("Promoted", "c"),
        entry("WouldRollBack", "d", "2026-03-20T10:00:00Z"),
    ]
    found = [*digest.lines("shop/web", history, at("2026-03-23T09:00:00Z")), *digest.lines("shop/cart", [entry("TooShort", "e")], 0)]
    assert digest.sentence(found, 2) == (
        "Linnet observed 3 updates of 2 workloads: 1 would have been rolled back, 1 would have been promoted, 1 too short to tell. "
        "It changed nothing."
    )
    assert [label for label, _ in digest.facts(found)] == ["shop/web b", "shop/web a", "shop/cart e"]


def test_a_quiet_week_is_told_too() -> None:
    """Silence would look the same as a Linnet that is not there."""
    assert digest.sentence([], 1) == "Linnet observed no update of the 1 workload that it watches. It changed nothing."
