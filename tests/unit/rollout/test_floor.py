"""The autoscaler's minimum through a release: lifted to what all traffic needs, higher when the load grows, and never over another's word."""

from __future__ import annotations

from daemon.rollout import model as m
from tests.unit.rollout.places import placed
from tests.unit.rollout.world import Autoscaler, World
from tests.unit.rollout.worlds import flagged, outcomes, releasing


def half_way(**changes: object) -> World:
    world = placed("Progressing", hpa=Autoscaler(), **changes)
    world.seconds(5)
    assert (world.weight, world.replicas) == (50, 4)
    return world


def test_the_floor_follows_a_load_that_grows_while_half_of_it_is_away() -> None:
    """Stable wants 6 pods for its half: 12 must be able to take everything back, and the end restores the owner's minimum."""
    world = half_way()
    assert world.hpa is not None
    assert world.hpa.minimum == 4
    world.scale(6)
    world.seconds(3)
    assert world.hpa.minimum == 12
    assert world.replicas == 12
    world.settle()
    assert world.status.stable_revision == "v2"
    world.as_found()


def test_the_floor_never_rises_over_the_owners_maximum() -> None:
    """What the owner allows is all that stable could ever have: the release goes on with that."""
    world = releasing(spec=flagged() | outcomes(), hpa=Autoscaler(maximum=8)).reach("Progressing", step=1).seconds(5)
    assert world.hpa is not None
    world.scale(7)
    world.seconds(3)
    assert world.hpa.minimum == 8
    world.settle()
    world.as_found()


def test_more_weight_waits_until_the_autoscaler_has_followed() -> None:
    """The load doubles at the first step: the second one begins only when stable has the pods to take it all back."""
    world = releasing(spec=flagged() | outcomes(), hpa=Autoscaler(follows=False)).reach("Progressing").seconds(2)
    first = world.weight
    assert first
    world.scale(8)
    world.seconds(3)
    assert world.hpa is not None
    assert world.hpa.minimum > 8
    world.seconds(40)
    assert (world.weight or 0) <= first
    assert world.status.waiting is not None
    assert "could take all of today's traffic back" in world.status.waiting.message
    world.hpa.follows = True
    world.settle()
    assert world.status.stable_revision == "v2"


def test_a_minimum_that_someone_sets_is_not_lifted_again() -> None:
    """Twin of the first: a person's word on the minimum ends ours, however the load grows."""
    world = half_way()
    assert world.hpa is not None
    world.hpa.take(2)
    world.scale(6)
    world.seconds(5)
    assert world.hpa.minimum == 2


def test_a_lift_that_was_lost_is_made_up_for() -> None:
    """A crash between the intent and the write is not taken for a person's hand, and no weight goes before it."""
    world = releasing(spec=flagged() | outcomes(), hpa=Autoscaler())
    world.broken = {m.LiftFloor}
    world.reach("Starting").seconds(3)
    assert world.hpa is not None
    assert world.hpa.minimum == 2
    world.broken = set()
    world.seconds(3)
    assert world.hpa.minimum == 4
    world.settle()
    assert world.status.stable_revision == "v2"
    world.as_found()
