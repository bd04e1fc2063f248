"""What Unleash's event log says of flags that are watched, event by event."""

from __future__ import annotations

from typing import Any

from flags.model import Changes
from flags.unleash_feed import changes, unseen


def event(
    number: int, flag: str | None = None, kind: str = "feature-strategy-update", environment: str | None = "production"
) -> dict[str, Any]:
    return {"id": number, "type": kind, "featureName": flag, "project": "default", "environment": environment}


def after(*events: dict[str, Any]) -> Changes:
    """What is new after events 1 to 3."""
    old = [event(number, "old") for number in (3, 2, 1)]
    first = changes("", old, "default", "production")
    assert first.everything, "before the first answer nothing is known of any flag"
    return changes(first.cursor, [*events, *old], "default", "production")


def test_an_event_that_was_numbered_early_and_committed_late_is_not_missed() -> None:
    """Number 4 shows up after 5 was seen: new is what was not there, not what is higher."""
    once = changes("", [event(5, "fast"), event(3, "old")], "default", "production")
    late = changes(once.cursor, [event(5, "fast"), event(4, "slow"), event(3, "old")], "default", "production")
    assert (late.flags, late.everything) == (frozenset({"slow"}), False)


def test_what_is_elsewhere_concerns_no_flag() -> None:
    """Another environment, another project, accounts and exports; a flag that was archived is in every environment."""
    elsewhere = event(8, "b") | {"project": "other"}
    nothing = after(elsewhere, event(7, "a", environment="development"), event(6, kind="features-exported"), event(5, kind="user-created"))
    assert (nothing.flags, nothing.everything) == (frozenset(), False)
    assert after(event(9, "a", "feature-archived", None)).flags == {"a"}


def test_an_event_without_a_flag_may_concern_all() -> None:
    """Segments, imports, and whatever a later Unleash invents."""
    assert all(after(event(4, kind=kind)).everything for kind in ("segment-updated", "features-imported", "something-new"))


def test_an_answer_that_does_not_reach_back_says_so() -> None:
    """More happened than it holds: nothing can be told from it."""
    first = changes("", [event(1, "a")], "default", "production")
    busy = [event(number, "b") for number in range(30, 10, -1)]
    assert unseen(first.cursor, busy) is None
    assert changes(first.cursor, busy, "default", "production").everything
