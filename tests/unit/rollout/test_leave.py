"""Freezes and windows in a release under way: what waits, what does not, and whose time it is."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.rollout import model as m
from daemon.rollout.clock import epoch
from daemon.rollout.steps import plan_of
from tests.unit.rollout.world import Version, World
from tests.unit.rollout.worlds import releasing, world


def frozen(*, hotfix: bool = True, until: float | None = None) -> m.Permit:
    return m.Permit(
        source="Freeze", start=False, advance=False, promote=False, owned=True, hotfix=hotfix, until=until, why="frozen: the sale"
    )


def refused(w: World) -> list[str]:
    return [e.message for e in w.events if e.reason == "CommandRefused"]


def waits(w: World) -> str:
    return w.status.waiting.reason if w.status.waiting else ""


def test_a_freeze_without_an_end_is_waited_for_without_an_end() -> None:
    """Its owner wrote it down: nothing starts for a week, people hear of it once, and its end lets the release begin."""
    w = world(Version("v2"))
    w.permits = (frozen(),)
    w.apply("v2")
    w.seconds(7 * 86400, step=3600)
    assert (w.phase, waits(w)) == ("Idle", "PermitFreeze")
    assert w.status.observed_revision == "v2", "the revision that people speak of"
    assert len([t for t in w.told("Waiting") if "the sale" in t]) == 1
    w.permits = ()
    w.settle()
    assert w.status.stable_revision == "v2"


def test_a_release_that_is_frozen_half_way_keeps_its_share_and_goes_on_after_days() -> None:
    """Neither the judge's deadline nor a time for leave ends it: the time of the freeze is not the release's."""
    w = releasing(Version("v2")).reach("Progressing").seconds(5)
    before, weight = w.status.rollout, w.weight
    assert before is not None and before.deadline_at is not None
    w.permits = (frozen(),)
    w.seconds(3 * 86400, step=600)
    assert (w.phase, w.weight, waits(w)) == ("Progressing", weight, "PermitFreeze")
    w.permits = ()
    w.turn()
    after = w.status.rollout
    assert after is not None and after.deadline_at is not None
    assert epoch(after.deadline_at) - epoch(before.deadline_at) >= 3 * 86400 - 700
    w.settle()
    assert w.status.stable_revision == "v2"


def test_no_exposure_begins_in_a_freeze_that_came_after_the_start() -> None:
    """Pods may come up; nobody meets them."""
    w = releasing(Version("v2")).reach("Starting")
    w.permits = (frozen(),)
    w.seconds(7200, step=60)
    assert (w.phase, w.weight or 0, waits(w)) == ("Starting", 0, "PermitFreeze")
    w.permits = ()
    w.settle()
    assert w.status.stable_revision == "v2"


@pytest.mark.parametrize("end", ["abort", "bad", "revert", "pods"])
def test_a_freeze_never_stands_in_the_way_back(end: str) -> None:
    """A person's abort, evidence of harm, a revert and dying pods end the exposure at once."""
    w = releasing(Version("v2", judge="bad" if end == "bad" else "good")).reach("Progressing").seconds(5)
    w.permits = (frozen(hotfix=False),)
    w.turn()
    if end == "abort":
        w.say("abort")
    elif end == "revert":
        w.apply("v1")
    elif end == "pods":
        w.versions["v2"].fatal = True
    w.run(lambda w: w.phase == "RollingBack")
    w.settle()
    assert w.status.stable_revision == "v1"
    w.as_found()


@pytest.mark.parametrize("verb", ["promote", "skip"])
def test_a_plain_verb_does_not_step_over_a_freeze(verb: str) -> None:
    """It is refused with the freeze's own words and the verbs that do."""
    w = releasing(Version("v2")).reach("Progressing").seconds(5)
    w.permits = (frozen(),)
    w.turn()
    w.say(verb)
    w.seconds(5)
    assert w.status.rollout is not None
    assert (w.phase, w.status.rollout.step) == ("Progressing", 0)
    assert "frozen: the sale" in refused(w)[0]
    assert "linnet promote --override" in refused(w)[0]


def test_a_hotfix_passes_a_freeze_unless_the_freeze_refuses_it() -> None:
    """With its reason, from the start to the promotion; where it is refused, an override still goes."""
    w = world(Version("v2"), Version("v3"))
    w.permits = (frozen(hotfix=False),)
    w.apply("v2")
    w.seconds(5)
    w.say("hotfix")
    w.seconds(5)
    assert w.status.rollout is None
    assert "it refuses hotfixes" in refused(w)[0]
    w.permits = (frozen(),)
    w.say("hotfix")
    w.settle()
    assert w.status.stable_revision == "v2"
    w.permits = (frozen(hotfix=False),)
    w.apply("v3")
    w.seconds(5)
    w.say("override")
    w.settle()
    assert w.status.stable_revision == "v3"


def test_of_two_withheld_leaves_the_one_that_lasts_longest_is_said() -> None:
    """Who reads it is not sent to the next window in the middle of a freeze."""
    w = world(Version("v2"))
    window = m.Permit(source="Window", start=False, owned=True, until=w.now + 3600, why="closed")
    w.permits = (window, frozen(until=w.now + 86400))
    w.apply("v2")
    w.turn()
    assert waits(w) == "PermitFreeze"
    w.permits = (window,)
    w.turn()
    assert waits(w) == "PermitWindow"


def test_a_promotion_that_waits_for_the_morning_is_proven_in_the_night() -> None:
    """Only the promotion is withheld: steps go on, the last one holds, and the first minute of the window promotes."""
    w = releasing(Version("v2"))
    opens = w.now + 12 * 3600
    closed: Any = m.Permit(source="Window", promote=False, owned=True, until=opens, why="the promotion waits for a release window")
    w.permits = (closed,)
    w.run(lambda w: waits(w) == "PermitWindow")
    assert w.status.rollout is not None
    assert w.status.rollout.step == len(plan_of(w.spec, gitops=False).steps) - 1
    while w.now < opens:
        w.turn()
        assert w.phase == "Progressing"
        w.tick(300)
    w.permits = ()
    w.turn()
    w.turn()
    assert w.phase == "Promoting"
    w.settle()
    assert w.status.stable_revision == "v2"
