"""Ready-made worlds for the tables of transitions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from daemon.api.canary import Analysis, Approval, CanarySpec, Dwell, Flag, FlagStep, Outcome, Outcomes, Pause, Step, Strategy, WorkloadRef
from tests.unit.rollout.invariants import check_all
from tests.unit.rollout.world import Flag as WorldFlag
from tests.unit.rollout.world import Version, World

DWELL = Dwell(min_duration="30s")


def spec_of(**changes: Any) -> CanarySpec:
    """Steps 5 and 50, a short dwell, written back after a rollback."""
    plain: dict[str, Any] = {
        "workload_ref": WorkloadRef(name="checkout"),
        "strategy": Strategy(ramp="Steps"),
        "steps": [Step(name="smoke", weight=5, dwell=DWELL), Step(name="half", weight=50, dwell=DWELL)],
        "on_rollback": "Restore",
    }
    return CanarySpec(**(plain | changes))


def flagged(percents: tuple[int, ...] = (), on_promotion: Any = "Keep") -> dict[str, Any]:
    """The changes to a spec that let one flag move with the weight."""
    if not percents:
        return {"flags": [Flag(name="new-checkout", on_promotion=on_promotion)]}
    steps = [
        Step(weight=w, flags=[FlagStep(name="new-checkout", percent=p)], dwell=DWELL)
        for w, p in zip((5, 50, 60, 70), percents, strict=False)
    ]
    return {"flags": [Flag(name="new-checkout", on_promotion=on_promotion)], "steps": steps}


def two_flags(mode: Any = "Gated", on_promotion: Any = "Remove") -> dict[str, Any]:
    """Two flags, each of a source of its own: the second one with another mode, rising and falling; aligned, as far as its weight."""
    steps = [
        Step(weight=w, flags=[FlagStep(name="new-checkout", percent=p), FlagStep(name="other", percent=q)], dwell=DWELL)
        for w, p, q in ((5, 10, 5 if mode == "Aligned" else 50), (50, 60, 20))
    ]
    return {"flags": [Flag(name="new-checkout"), Flag(name="other", mode=mode, on_promotion=on_promotion)], "steps": steps}


def outcomes(**changes: Outcome) -> dict[str, Any]:
    return {"analysis": Analysis(deadline="10m", outcomes=Outcomes(**changes))}


def paused_step(duration: str | None = None) -> dict[str, Any]:
    return {
        "steps": [
            Step(name="smoke", weight=5, dwell=DWELL),
            Step(name="sign-off", pause=Pause(duration=duration)),
            Step(weight=50, dwell=DWELL),
        ]
    }


def approved_step(on_timeout: Any = None, timeout: str = "1h") -> dict[str, Any]:
    return {
        "steps": [
            Step(name="smoke", weight=5, dwell=DWELL),
            Step(name="sign-off", approval=Approval(timeout=timeout, on_timeout=on_timeout)),
            Step(name="half", weight=50, dwell=DWELL),
        ]
    }


def blue_green(delay: str | None = None, *, asked: bool = True, **changes: Any) -> dict[str, Any]:
    """A preview with a sign-off, half of the requests to compare, then the switch and a bake."""
    first = [Step(name="preview", approval=Approval(timeout="24h"))] if asked else []
    return {
        "strategy": Strategy(type="BlueGreen", scale_down_delay=delay),
        "steps": [*first, Step(name="compare", weight=50, dwell=DWELL), Step(name="switch", weight=100, dwell=Dwell(min_duration="1m"))],
        **changes,
    }


def world(*versions: Version, adopted: bool = True, checked: bool = True, spec: dict[str, Any] | None = None, **changes: Any) -> World:
    """A world at rest with `v1` as stable, and every promise checked after each pass."""
    made = World(spec=spec_of(**(spec or {})), versions={v.name: replace(v) for v in versions}, **changes)
    if (spec or {}).get("flags") and not made.flags:
        made.flags = [WorldFlag(f.name, f.name) for f in made.spec.flags or []]
    if checked:
        made.checks.append(check_all)
    if adopted:
        made.reach("Idle").settle()
    return made


def releasing(version: Version | None = None, **changes: Any) -> World:
    """`v2` was just applied."""
    made = world(version or Version("v2"), **changes)
    made.apply("v2")
    return made
