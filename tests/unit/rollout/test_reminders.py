"""Flags that outlive their release: when people are reminded, how often, and what ends it."""

from __future__ import annotations

import msgspec
import pytest

from daemon.api.canary import Flag
from daemon.api.status import CanaryStatus, FlagReminder, FlagStatus, RolloutStatus
from daemon.rollout import reminders
from daemon.rollout.clock import stamp
from daemon.rollout.model import Observed
from daemon.rollout.steps import plan_of
from daemon.rollout.turn import Turn
from tests.unit.rollout.worlds import spec_of

DAY = 86_400.0
START = 1_800_000_000.0


def turn(status: CanaryStatus, now: float, *flags: Flag) -> Turn:
    return Turn("checkout", plan_of(spec_of(flags=list(flags)), gitops=False), status, Observed(workload=None), now)


def old(**more: str) -> CanaryStatus:
    return CanaryStatus(phase="Idle", reminders=[FlagReminder(name="new", key="new", source="s", promoted_at=stamp(START), **more)])


def test_a_flag_is_reminded_of_once_a_day_from_its_time_on() -> None:
    """Not before; then once, however often is decided; then the next day."""
    status, told = old(), []
    for now in (START + DAY, START + 30 * DAY, START + 30 * DAY + 60, START + 31 * DAY + 1):
        one = turn(status, now, Flag(name="new", remove_after="720h"))
        reminders.remind(one)
        decision = one.decision()
        status = decision.status
        told.append([e.message for e in decision.events])
        assert decision.again_in is not None
    assert [len(t) for t in told] == [0, 1, 0, 1]
    assert told[1] == ["checkout: flag new of s was promoted 30 days ago: take it out of the code, then out of spec.flags"]
    assert reminders.due(old(), START + 99 * DAY) == "", "what nobody was told of is no condition yet"


@pytest.mark.parametrize("flags", [(), (Flag(name="new"),)])
def test_a_flag_that_left_the_spec_is_forgotten(flags: tuple[Flag, ...]) -> None:
    """The flag itself, or the wish to be reminded."""
    one = turn(old(told_at=stamp(START + 30 * DAY)), START + 32 * DAY, *flags)
    reminders.remind(one)
    assert (one.status.reminders, one.decision().events) == ([], ())


@pytest.mark.parametrize(("choice", "remembered"), [("Keep", True), ("HandOver", True), ("Remove", False)])
def test_a_release_that_moved_the_flag_starts_its_age_anew(choice: str, remembered: bool) -> None:
    """The age counts from the last promotion; a flag that was put back as it was found is nobody's to remove."""
    rollout = RolloutStatus(revision="v2", started_at=stamp(START))
    status = msgspec.structs.replace(old(), rollout=rollout, flags=[FlagStatus(name="new", key="new", source="s")])
    one = turn(status, START + 5 * DAY, Flag(name="new", remove_after="720h", on_promotion=choice))  # type: ignore[arg-type]
    reminders.promoted(one)
    assert [r.promoted_at for r in one.status.reminders] == ([stamp(START + 5 * DAY)] if remembered else [])
