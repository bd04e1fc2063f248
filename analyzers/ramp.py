"""The adaptive ramp: how much traffic the canary may have next, from what has been shown so far.

It starts with the few requests that a warm-up needs, climbs a rung when the worst that is not refuted yet would stay within the risk
budget for the next minute, falls back to the lowest useful rung while the evidence leans against the canary, goes to 0 when both
arms sicken after a climb, and climbs again once. A function of the judge's findings; it remembers nothing itself.
"""

from __future__ import annotations

import msgspec

from analyzers.options import RampConfig


class Signals(msgspec.Struct, frozen=True, kw_only=True):
    """What the judge knows after a tick. `pending`: the weight that was asked for and may not be in force yet, else the weight.
    `next_risk`: failed requests a minute that the next rung could cause, as far as not ruled out; `usual_failures`: those that there are
    in a minute anyway.
    """

    weight: float
    pending: float
    start: float
    since_change: int
    ended: bool
    stopped: bool
    retreat: float | None
    free: bool
    gates_open: bool
    proven: bool
    next_risk: float
    usual_failures: float


def next_weight(ramp: RampConfig, seen: Signals) -> float:
    """The weight to set after this tick, in percent; never more than one rung up, down at once."""
    if seen.ended or seen.stopped:
        return 0.0
    if seen.retreat is not None:
        return min(seen.weight, seen.retreat)
    if seen.weight <= 0:
        return seen.start
    above = next((r for r in ramp.rungs if r > seen.weight), None)
    if above is None or not seen.free or seen.since_change + 1 < ramp.dwell_scrapes:
        return seen.pending
    budget = max(ramp.budget, ramp.budget_of_usual * seen.usual_failures)
    affordable = seen.proven or (seen.gates_open and seen.next_risk <= budget)
    return above if affordable else seen.pending
