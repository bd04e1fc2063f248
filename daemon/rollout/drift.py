"""A person's hand on a flag under way: what the owner wants made of it (`onDrift`), and what is never done.

Lower than we set, or off, is a brake that was pulled: it ends the release unless its owner chose to wait or to go on within it. Nothing
here ever raises what a person lowered; `Enforce` lowers what was raised, and no more.
"""

import msgspec

from daemon.api.status import CohortStatus, FlagStatus
from daemon.rollout.model import FlagView
from daemon.rollout.steps import OnDrift
from daemon.rollout.turn import Turn


def policy(turn: Turn, view: FlagView) -> OnDrift:
    """The owner's word; without one, what was lowered ends the release, and what was raised holds it. A brake is never overridden."""
    chosen = turn.flag_plan(view.name).on_drift
    lowered = view.drift == "lower"
    if chosen is None or (chosen == "Enforce" and lowered):
        return "Rollback" if lowered else "Hold"
    return chosen if view.plain or chosen == "Rollback" else "Hold"


def ending(turn: Turn) -> FlagView | None:
    """The flag whose change by a person ends this release."""
    return next((f for f in turn.flags if f.drift is not None and policy(turn, f) == "Rollback"), None)


def enforced(turn: Turn, view: FlagView) -> bool:
    """Whether what a person raised is to be lowered again."""
    return view.drift is not None and view.drift != "lower" and policy(turn, view) == "Enforce"


def adopt(turn: Turn) -> None:
    """Where the owner lets a person's shares stand they are ours from now on, and bound every later step of this release."""
    adopted = {v.name: v for v in turn.flags if v.drift is not None and policy(turn, v) == "Adopt" and _shares_alone(turn, v)}
    if not adopted:
        return
    turn.set(flags=[_adopted(f, adopted[f.name]) if f.name in adopted else f for f in turn.status.flags])
    quiet = (msgspec.structs.replace(v, drift=None, changed="") if v.name in adopted else v for v in turn.seen.flags)
    turn.seen = msgspec.structs.replace(turn.seen, flags=tuple(quiet))
    for view in adopted.values():
        turn.tell("TakenBack", f"{turn.name}: flag {view.key} goes on as it was set by hand: {view.changed}", warning=True)


def _shares_alone(turn: Turn, view: FlagView) -> bool:
    """A gate that a person removed is no share that could be adopted: stable pods lack the code."""
    status = turn.flag_status(view.name)
    gated = turn.flag_plan(view.name).unreached.gate is not None and not (status is not None and status.opened)
    return view.gated == gated


def _adopted(status: FlagStatus, view: FlagView) -> FlagStatus:
    there = {s.cohort: s.percent for s in view.cohorts}
    cohorts = [msgspec.structs.replace(c, **_limits(c, there.get(c.name))) for c in status.cohorts]
    return msgspec.structs.replace(status, cohorts=cohorts, message="", **_limits(status, view.percent))


def _limits(before: FlagStatus | CohortStatus, there: int | None) -> dict[str, int | None]:
    if there is None or before.written is None or there == before.written:
        return {}
    lowered = there < before.written
    return {
        "written": there,
        "wanted": there,
        "at_most": there if lowered else before.at_most,
        "at_least": None if lowered else there,
    }


def told(view: FlagView) -> str:
    """What a person did, as a clause."""
    way = {"lower": "lowered", "higher": "raised"}.get(view.drift or "", "changed")
    return f"flag {view.key} was {way} at its source by hand{': ' if view.changed else ''}{view.changed}"
