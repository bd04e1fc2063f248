"""The places in a release at which a disturbance may strike, and a world brought to each."""

from __future__ import annotations

from collections.abc import Callable

from tests.unit.rollout.world import Autoscaler, World
from tests.unit.rollout.worlds import flagged, outcomes, paused_step, releasing

Reach = Callable[[World], World]
SIGN_OFF = paused_step()


def _inconclusive(w: World) -> World:
    w.versions["v2"].judge = "silent"
    return w.reach("Inconclusive")


PLACES: dict[str, Reach] = {
    "Starting": lambda w: w.reach("Starting"),
    "Progressing": lambda w: w.reach("Progressing", step=1).seconds(5),
    "PersonPaused": lambda w: (w.reach("Progressing").seconds(5), w.say("pause"), w.reach("Paused"))[-1],
    "Inconclusive": _inconclusive,
    "Releasing": lambda w: w.reach("Promoting", promotion="Releasing"),
    "Rolling": lambda w: w.reach("Promoting", promotion="Rolling").seconds(1),
    "Returning": lambda w: w.reach("Promoting", promotion="Returning"),
    "Cleaning": lambda w: w.reach("Promoting", promotion="Cleaning"),
    "RollingBack": lambda w: (w.reach("Progressing", step=1).seconds(5), w.say("abort"), w.reach("RollingBack"))[-1],
}


def placed(place: str, **changes: object) -> World:
    return PLACES[place](releasing(**({"spec": flagged() | outcomes(), "hpa": Autoscaler()} | changes)))  # type: ignore[arg-type]
