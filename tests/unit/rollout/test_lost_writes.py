"""Writes that were lost or undone by someone: the next pass sees the gap and closes it (P5)."""

from __future__ import annotations

import pytest

from daemon.rollout import model as m
from tests.unit.rollout.places import placed
from tests.unit.rollout.world import Autoscaler, Version
from tests.unit.rollout.worlds import releasing, world


@pytest.mark.parametrize("broken", [m.RememberFailure, m.StoreTemplate, m.ForgetFailure, m.RestoreFloor, m.Adopt])
def test_a_write_that_was_lost_is_made_up_for(broken: type[m.Action]) -> None:
    """Every write follows from the status: what a crash swallowed is written later (P5, P9)."""
    w = world(Version("v2", judge="bad"), spec={"on_rollback": "Hold"}, hpa=Autoscaler(), adopted=False)
    w.broken = {broken} if broken in (m.StoreTemplate, m.Adopt) else set()
    w.reach("Idle").seconds(3)
    w.broken = set()
    w.seconds(3)
    assert w.stored == {"v1": "stable"}
    assert w.adopted
    w.broken = {broken}
    w.apply("v2")
    w.reach("RollingBack")
    w.seconds(2)
    w.broken = set()
    w.settle()
    assert set(w.failed) == {"v2"}
    w.broken = {broken}
    w.say("override")
    w.seconds(3)
    w.broken = set()
    w.settle()
    assert w.status.stable_revision == "v2"
    assert not w.failed
    w.as_found()


def test_a_failure_is_remembered_although_its_template_could_not_be_stored_before() -> None:
    """Held by the verdict alone at first; the memory follows as soon as it can be written."""
    w = releasing(Version("v2", judge="bad"), spec={"on_rollback": "Hold"})
    w.broken = {m.StoreTemplate}
    w.reach("Held")
    assert not w.failed
    w.broken = set()
    w.settle()
    assert set(w.failed) == {"v2"}


def test_a_floor_that_could_not_be_restored_in_time_is_restored_at_rest() -> None:
    """P1 does not end with the rollout's deadline."""
    w = placed("Returning")
    w.broken = {m.RestoreFloor}
    w.checks.clear()
    w.seconds(1500, step=5)
    w.broken = set()
    w.settle()
    w.as_found()


def test_a_template_that_cannot_be_written_back_stays_held() -> None:
    """A stored template that is missing ends as Held with the reason, not in an endless wait."""
    w = placed("Progressing")
    w.stored.pop("v1")
    w.broken = {m.StoreTemplate}
    w.say("abort")
    w.settle()
    assert (w.phase, w.template, w.paused) == ("Held", "v2", True)


def test_a_canary_deployment_that_someone_deletes_is_made_again() -> None:
    """Weight goes first, then the pods are back, then the weight."""
    w = placed("Progressing")
    w.canaries.clear()
    w.turn()
    assert w.routes[0].weight == 0
    w.seconds(10)
    assert w.routes[0].weight == 50


def test_a_stable_that_grows_in_mid_roll_grows_the_canary() -> None:
    """The canary's size follows the live load, in promotion too."""
    w = placed("Rolling", hpa=None)
    w.scale(8)
    w.versions["v2"].starts = True
    w.turn()
    assert w.canaries["v2"].replicas >= 4
