"""Each field of the spec that the core reads: two releases that differ in it alone go differently."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from daemon.api.canary import Analysis, Approval, Dwell, Flag, FlagStep, Outcome, Outcomes, Pause, Step, Strategy, Traffic
from daemon.api.gates import ReleaseGate, StepGate
from tests.unit.rollout.test_gating import HOOK
from tests.unit.rollout.world import Flag as WorldFlag
from tests.unit.rollout.world import Version, World
from tests.unit.rollout.worlds import DWELL, releasing

Spec = dict[str, Any]
LAST = Step(weight=50, dwell=DWELL)


def course(spec: Spec, judge: str) -> list[tuple[Any, ...]]:
    """What is seen of a release every five seconds, until nothing is under way (or for two hours)."""
    flags = [WorldFlag("new-checkout", "new-checkout"), WorldFlag("other", "other")] if spec.get("flags") else []
    w = releasing(Version("v2", judge=judge, starts=judge != "hung"), spec=spec, flags=flags, checked=False)
    began, seen = w.now, []
    for _ in range(1440):
        w.turn()
        flags_now = tuple(f.percent for f in w.flags)
        pods = sum(p.replicas for p in w.canaries.values())
        seen.append((round((w.now - began) / 5), w.phase, w.status.step, w.weight, pods, flags_now))
        if w.status.rollout is None and w.phase in ("Idle", "Held"):
            break
        w.tick(5)
    return [*seen, (w.status.stable_revision, w.status.verdict_text)]


def outcome(kind: str, action: str, after: str | None = None, then: str | None = None) -> Spec:
    rule = Outcome(action=action, then_after=after, then=then)  # type: ignore[arg-type]
    return {"analysis": Analysis(deadline="2m" if kind == "inconclusive" else "1h", outcomes=Outcomes(**{kind: rule}))}


def steps(*first: Step, **more: Any) -> Spec:
    return {"steps": [*first, LAST], **more}


FLAGS: Spec = {"flags": [Flag(name="new-checkout"), Flag(name="other")]}
QUIET = {"inconclusive": "silent", "no_data": "nodata", "provider_error": "provider"}

GATE = ReleaseGate(name="qa", at="Start", webhook=HOOK, timeout="5m")
PAIRS: dict[str, tuple[str, Spec, Spec]] = {
    "steps[].name": ("good", steps(Step(name="one", weight=5)), steps(Step(name="two", weight=5))),
    "steps[].weight": ("good", steps(Step(weight=5)), steps(Step(weight=20))),
    "steps[].flags[].name": (
        "good",
        steps(Step(weight=5, flags=[FlagStep(name="new-checkout", percent=30)]), **FLAGS),
        steps(Step(weight=5, flags=[FlagStep(name="other", percent=30)]), **FLAGS),
    ),
    "steps[].flags[].percent": (
        "good",
        steps(Step(weight=5, flags=[FlagStep(name="other", percent=30)]), **FLAGS),
        steps(Step(weight=5, flags=[FlagStep(name="other", percent=60)]), **FLAGS),
    ),
    "steps[].dwell.minDuration": (
        "good",
        steps(Step(weight=5, dwell=Dwell(min_duration="30s"))),
        steps(Step(weight=5, dwell=Dwell(min_duration="90s"))),
    ),
    "steps[].dwell.minRequests": (
        "good",
        steps(Step(weight=5, dwell=Dwell(min_requests=1))),
        steps(Step(weight=5, dwell=Dwell(min_requests=100_000))),
    ),
    "steps[].pause.duration": (
        "good",
        steps(Step(weight=5), Step(pause=Pause(duration="30s"))),
        steps(Step(weight=5), Step(pause=Pause(duration="5m"))),
    ),
    "steps[].approval.timeout": (
        "good",
        steps(Step(weight=5), Step(approval=Approval(timeout="5m"))),
        steps(Step(weight=5), Step(approval=Approval(timeout="20m"))),
    ),
    "steps[].approval.onTimeout": (
        "good",
        steps(Step(weight=5), Step(approval=Approval(timeout="5m", on_timeout="Promote"))),
        steps(Step(weight=5), Step(approval=Approval(timeout="5m", on_timeout="Rollback"))),
    ),
    "steps[].gate.timeout": (
        "good",
        steps(Step(weight=5), Step(gate=StepGate(webhook=HOOK, timeout="5m"))),
        steps(Step(weight=5), Step(gate=StepGate(webhook=HOOK, timeout="20m"))),
    ),
    "steps[].gate.onTimeout": (
        "good",
        steps(Step(weight=5), Step(gate=StepGate(webhook=HOOK, timeout="5m", on_timeout="Promote"))),
        steps(Step(weight=5), Step(gate=StepGate(webhook=HOOK, timeout="5m", on_timeout="Rollback"))),
    ),
    "gates[].at": ("good", {"gates": [GATE]}, {"gates": [msgspec.structs.replace(GATE, at="FirstStep")]}),
    "gates[].timeout": ("good", {"gates": [GATE]}, {"gates": [msgspec.structs.replace(GATE, timeout="9m")]}),
    "gates[].onTimeout": ("good", {"gates": [GATE]}, {"gates": [msgspec.structs.replace(GATE, on_timeout="Promote")]}),
    "strategy.type": ("good", {"steps": [LAST]}, {"steps": [LAST], "strategy": Strategy(type="BlueGreen")}),
    "strategy.scaleDownDelay": (
        "good",
        {"strategy": Strategy(scale_down_delay="1m")},
        {"strategy": Strategy(scale_down_delay="9m")},
    ),
    "steps[].scale": ("good", steps(Step(scale=25), Step(weight=5)), steps(Step(scale=100), Step(weight=5))),
    "analysis.deadline": ("silent", {"analysis": Analysis(deadline="2m")}, {"analysis": Analysis(deadline="20m")}),
    "traffic.drain": ("bad", {"traffic": Traffic(drain="5s")}, {"traffic": Traffic(drain="1m")}),
    "progressDeadline": ("hung", {"progress_deadline": "1m"}, {"progress_deadline": "5m"}),
    "onRollback": ("bad", {"on_rollback": "Restore"}, {"on_rollback": "Hold"}),
    **{
        f"outcomes.{kind}.{field}": (QUIET[kind], outcome(kind, *one), outcome(kind, *other))
        for kind in QUIET
        for field, one, other in (
            ("action", ("Rollback",), ("Promote",)),
            ("thenAfter", ("Wait", "3m", "Rollback"), ("Wait", "9m", "Rollback")),
            ("then", ("Wait", "3m", "Rollback"), ("Wait", "3m", "Promote")),
        )
    },
}


@pytest.mark.parametrize("field", PAIRS)
def test_a_field_changed_alone_changes_the_release(field: str) -> None:
    """Nothing is accepted and ignored: what happens, or when, or what it is called, is another."""
    judge, one, other = PAIRS[field]
    assert course(one, judge) != course(other, judge)


@pytest.mark.parametrize("field", ["steps[].name", "onRollback"])
def test_the_same_spec_gives_the_same_release(field: str) -> None:
    """The comparison above would prove nothing if two equal releases differed."""
    judge, one, _ = PAIRS[field]
    assert course(one, judge) == course(one, judge)
    assert isinstance(releasing(), World)
