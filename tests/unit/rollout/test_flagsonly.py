"""Flags alone: a plan is released from step to step, judged, promoted or taken back, and nothing but flags is ever written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from daemon.api.canary import CanarySpec, CohortStep, Dwell, Flag, FlagCohort, FlagStep, Step, Traffic
from daemon.api.defaults import effective
from daemon.api.status import CanaryStatus
from daemon.rollout import model as m
from daemon.rollout.decide import decide
from daemon.rollout.flagsonly import plan_in
from flags.model import Share


@dataclass
class Alone:
    """A Canary without a workload, one flag at its source, and a judge."""

    spec: CanarySpec
    status: CanaryStatus = field(default_factory=CanaryStatus)
    now: float = 1_760_000_000.0
    percent: int | None = None
    cohorts: dict[str, int] = field(default_factory=dict)
    verdict: str = "good"
    command: m.Command | None = None
    drift: Any = None
    writes: list[int] = field(default_factory=list)
    acted: list[m.Actions] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    deleting: bool = False

    def observed(self) -> m.Observed:
        view = m.FlagView(
            name="new",
            key="new-checkout",
            source="unleash",
            percent=self.percent,
            cohorts=tuple(Share(cohort=name, percent=share) for name, share in self.cohorts.items()),
            gated=False,
            seen=self.percent is not None,
            drift=self.drift,
            plain=True,
            original="0",
        )
        action: Any = {"good": "Promote", "bad": "Rollback", "silent": "Hold"}[self.verdict]
        rollout = self.status.rollout
        judge = m.JudgeView(action=action, code="Worse" if action == "Rollback" else "", text="flag-on fails more") if rollout else None
        return m.Observed(
            workload=None, flags=(view,), judge=judge, flag_plan=plan_in(effective(self.spec)), command=self.command, deleting=self.deleting
        )

    def turn(self) -> None:
        spec = effective(self.spec)
        if self.status.rollout is not None and self.status.rollout.spec is not None:
            spec = msgspec.convert(self.status.rollout.spec, CanarySpec)
        decision = decide(spec, self.status, self.observed(), self.now, name="worker")
        self.status = decision.status
        self.acted += decision.actions
        self.told += [event.message for event in decision.events]
        for action in decision.actions:
            match action:
                case m.SetFlag(percent=percent, cohorts=cohorts, gated=False) | m.FinishFlag(percent=percent, cohorts=cohorts):
                    self._write(percent, {s.cohort: s.percent or 0 for s in cohorts})
                case m.ZeroFlags():
                    self._write(0, dict.fromkeys(self.cohorts, 0))
                case m.RestoreFlags() | m.ReleaseFlags():
                    self.percent, self.cohorts = None, {}
                case _:
                    assert isinstance(action, m.DropFinalizer), action

    def _write(self, percent: int, cohorts: dict[str, int]) -> None:
        self.percent, self.cohorts = percent, cohorts
        self.writes.append(percent)

    def run(self, seconds: int = 60) -> Alone:
        for _ in range(seconds):
            self.turn()
            self.now += 1
        return self

    def say(self, verb: Any) -> None:
        plan = self.status.rollout.revision if self.status.rollout else self.status.flag_plans[-1].revision
        self.command = m.Command(verb=verb, revision=plan, raw=f"{verb}@{plan}#{self.now}", by="alice")


def spec(*percents: int, **flag: Any) -> CanarySpec:
    steps = [Step(flags=[FlagStep(name="new", percent=p)], dwell=Dwell(min_duration="5s")) for p in percents]
    return CanarySpec(traffic=Traffic(mode="None"), flags=[Flag(name="new", key="new-checkout", **flag)], steps=steps)


def test_a_plan_goes_from_step_to_step_and_is_stable() -> None:
    """Without a workload the new Canary is a release; the flag stays at what was reached, and is its people's again."""
    w = Alone(spec(10, 50)).run()
    assert w.writes == [10, 50]
    assert (w.status.phase, w.status.stable_revision, w.status.weight) == ("Idle", "plan-1", None)
    assert w.status.sentence.startswith("worker plan-1 promoted after")
    assert w.status.sentence.endswith("flag new-checkout 50 %.")
    assert m.ReleaseFlags(names=("new",)) in w.acted


def test_at_rest_nothing_is_written() -> None:
    """The same plan again is nothing to release."""
    w = Alone(spec(10, 50)).run()
    before = len(w.acted)
    w.run()
    assert len(w.acted) == before


def test_a_bad_flag_goes_back_and_is_remembered() -> None:
    """To 0, then as it was found; the same plan is not tried again until a person says so."""
    w = Alone(spec(10, 50), verdict="bad").run()
    assert w.writes == [10, 0]
    assert w.percent is None
    assert w.status.phase == "Held"
    assert "Flag new-checkout back at 0" in w.status.sentence
    w.verdict = "good"
    assert w.run().status.phase == "Held"
    w.say("retry")
    assert w.run().status.stable_revision == "plan-1"


def test_a_changed_plan_is_a_release_of_its_own() -> None:
    """Its name is a new one, and a plan that failed stays known under its own: applied again it is not tried again."""
    w = Alone(spec(10, 50)).run()
    w.spec, w.verdict = spec(20, 90), "bad"
    w.run()
    assert w.status.history[0].revision == "plan-2"
    w.spec = spec(10, 50)
    assert w.run().status.phase == "Idle", "the stable plan again is nothing to release"
    w.spec, w.verdict = spec(20, 90), "good"
    assert w.run().status.phase == "Held"
    w.spec = spec(30, 90)
    assert w.run().status.stable_revision == "plan-3"


def test_a_plan_that_changes_in_mid_release_ends_it() -> None:
    """The flag goes to 0 before the new plan begins at its first step."""
    w = Alone(spec(10, 50), verdict="silent").run(20)
    w.spec, w.verdict = spec(5, 30), "good"
    w.run()
    assert w.writes == [10, 0, 5, 30]
    assert w.status.stable_revision == "plan-2"


def test_a_person_who_lowers_the_flag_ends_it() -> None:
    """A brake is a brake without pods too."""
    w = Alone(spec(10, 50), verdict="silent").run(20)
    w.percent, w.drift = 3, "lower"
    w.turn()
    assert w.status.phase == "RollingBack"


def test_an_abort_takes_the_flag_back() -> None:
    """The verb is bound to the plan."""
    w = Alone(spec(10, 50), verdict="silent").run(20)
    w.say("abort")
    w.run()
    assert w.writes == [10, 0]
    assert "stopped by alice" in w.status.sentence


def test_a_deleted_canary_gives_the_flag_back() -> None:
    """First 0, then as it was found, then the finalizer (P10)."""
    w = Alone(spec(10, 50), verdict="silent").run(20)
    w.deleting = True
    w.run(30)
    assert w.writes == [10, 0]
    assert w.percent is None
    assert isinstance(w.acted[-1], m.DropFinalizer)


def test_cohorts_go_first() -> None:
    """Beta, then everyone: also where no pod takes part."""
    beta = FlagCohort(name="beta", segment="b")
    plan = spec(0, 20, cohorts=[beta])
    first = Step(flags=[FlagStep(name="new", cohorts=[CohortStep(name="beta", percent=100)])], dwell=Dwell(min_duration="5s"))
    w = Alone(CanarySpec(traffic=plan.traffic, flags=plan.flags, steps=[first, (plan.steps or [])[1]])).run()
    assert w.writes == [0, 20]
    assert w.status.sentence.endswith("flag new-checkout 20 %, 100 % for beta.")


@pytest.mark.parametrize("choice", ["Keep", "Open", "Remove", "HandOver"])
def test_what_the_flag_becomes(choice: str) -> None:
    """The owner's choice: as reached, for everybody, or as it was found."""
    w = Alone(spec(10, on_promotion=choice)).run()
    assert w.writes == ([10, 100] if choice == "Open" else [10])
    given_back = m.RestoreFlags if choice == "Remove" else m.ReleaseFlags
    assert isinstance(w.acted[-1], given_back)
