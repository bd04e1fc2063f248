"""Shares by cohort: who gets a flag at which step, what people read of it, and what a person's hand on it means."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.api.canary import CanarySpec, CohortConstraint, CohortStep, Flag, FlagCohort, FlagStep, Step, WorkloadRef
from daemon.rollout import shares
from daemon.rollout.steps import plan_of
from flags.model import Cohort, Constraint, Desired, Gate
from tests.unit.rollout.world import Version, World
from tests.unit.rollout.worlds import DWELL, outcomes, releasing, world

BETA = FlagCohort(name="beta", segment="beta-testers")
STEPS = [
    Step(weight=5, flags=[FlagStep(name="new-checkout", cohorts=[CohortStep(name="beta", percent=100)])], dwell=DWELL),
    Step(weight=5, dwell=DWELL),
    Step(weight=50, flags=[FlagStep(name="new-checkout", percent=10)], dwell=DWELL),
]


def spec(steps: list[Step] | None = None, **flag: Any) -> dict[str, Any]:
    return {"flags": [Flag(name="new-checkout", cohorts=[BETA], **flag)], "steps": steps or STEPS} | outcomes()


def planned(flag: Flag, *steps: Step) -> list[Desired]:
    plan = plan_of(CanarySpec(workload_ref=WorkloadRef(name="shop"), flags=[flag], steps=list(steps)), gitops=False)
    return [step.flags[flag.name] for step in plan.steps]


def test_beta_first_then_everyone() -> None:
    """What a step does not name carries over; each write is the whole flag."""
    w = releasing(spec=spec())
    w.settle()
    assert w.flags[0].writes == [{"all": 0, "beta": 100}, {"all": 10, "beta": 100}, {"all": 10, "beta": 100}], "the last one swaps the gate"
    assert w.status.stable_revision == "v2"
    assert w.status.sentence.endswith("flag new-checkout 10 %, 100 % for beta.")


def test_a_beta_release_stays_one() -> None:
    """Promoted with beta alone: nobody else gets the flag by surprise, and the sentence says whom it is for."""
    w = releasing(spec=spec(STEPS[:2]))
    w.settle()
    assert w.flags[0].writes[-1] == {"all": 0, "beta": 100}
    assert w.status.sentence.endswith("flag new-checkout 100 % for beta.")


def test_the_column_shows_each_cohort() -> None:
    """Everyone's share and beta's, and the status has wanted and written for both."""
    w = releasing(spec=spec()).reach("Progressing", step=2).seconds(10)
    assert w.status.flags_text == "new-checkout=10/beta:100"
    [flag] = w.status.flags
    assert (flag.wanted, flag.written) == (10, 10)
    assert [(c.name, c.wanted, c.written) for c in flag.cohorts] == [("beta", 100, 100)]


def test_a_way_back_takes_the_flag_from_every_cohort() -> None:
    """Beta alone had it: it counts as raised, and goes to 0 in the pass of the verdict."""
    w = world(Version("v1"), Version("v2", judge="bad"), spec=spec())
    w.apply("v2")
    w.settle()
    assert w.flags[0].cohorts == {}
    assert {"all": 0, "beta": 0} in w.flags[0].writes
    assert "Flag new-checkout back at 0" in w.status.sentence


def test_each_word_of_a_cohort_reaches_what_is_written() -> None:
    """Constraints, segment, stickiness and mode are the flag's in every step, and its name is what steps call it by."""
    rule = CohortConstraint(attribute="plan", operator="STR_ENDS_WITH", values=["pro"])
    flag = Flag(name="a", stickiness="sessionId", cohorts=[FlagCohort(name="pro", constraints=[rule]), BETA])
    first, second = planned(
        flag,
        Step(flags=[FlagStep(name="a", cohorts=[CohortStep(name="pro", percent=40)])]),
        Step(flags=[FlagStep(name="a", percent=5, cohorts=[CohortStep(name="beta", percent=7)])]),
    )
    constraint = Constraint(attribute="plan", values=("pro",), operator="STR_ENDS_WITH")
    assert first == Desired(
        percent=0,
        gate=Gate(),
        stickiness="sessionId",
        cohorts=(Cohort(name="pro", percent=40, constraints=(constraint,)), Cohort(name="beta", percent=0, segment="beta-testers")),
    )
    assert shares.shares_of(second) == {"all": 5, "pro": 40, "beta": 7}


def test_an_independent_flag_has_no_gate() -> None:
    """Its shares are of everybody, so nothing is to be swapped away at the end."""
    [only] = planned(Flag(name="a", mode="Independent"), Step(flags=[FlagStep(name="a", percent=30)]))
    assert (only.percent, only.gate) == (30, None)


def touched(w: World, *, to: dict[str, int] | None = None, percent: int | None = None, kind: str = "lower", plain: bool = True) -> World:
    """A person's hand, after the second exposure."""
    flag = w.flags[0]
    flag.cohorts |= to or {}
    flag.percent = flag.percent if percent is None else percent
    flag.drift, flag.plain, flag.seen = kind, plain, True
    flag.writes.clear()
    return w


def reached(policy: str | None) -> World:
    return releasing(spec=spec(on_drift=policy)).reach("Progressing", step=1).seconds(5)


@pytest.mark.parametrize("policy", [None, "Enforce", "Rollback"])
def test_a_brake_that_was_pulled_ends_the_release(policy: str | None) -> None:
    """Without a word of the owner, and also where it enforces: what a person lowered is never raised again."""
    w = touched(reached(policy), to={"beta": 20})
    w.turn()
    assert w.phase == "RollingBack"
    w.settle()
    assert max((share for write in w.flags[0].writes for share in write.values()), default=0) <= 20


def test_hold_waits_for_the_person_and_then_ends() -> None:
    """The step stops counting, nothing is written, and the deadline ends it (P6)."""
    w = touched(reached("Hold"), to={"beta": 20})
    w.seconds(60)
    assert w.status.waiting is not None
    assert w.status.waiting.reason == "FlagLowered"
    assert w.flags[0].writes == []
    w.settle()
    assert w.status.history[0].outcome == "RolledBack"


def test_adopt_goes_on_below_what_a_person_set() -> None:
    """Beta stays at 20 for the rest of the release, whatever the steps say; everyone's share goes on."""
    w = touched(reached("Adopt"), to={"beta": 20})
    w.turn()
    w.flags[0].drift = None  # what is read is what the status says now
    w.settle()
    assert w.status.stable_revision == "v2"
    assert w.flags[0].writes[-1] == {"all": 10, "beta": 20}
    assert w.told("TakenBack")


def test_adopt_keeps_what_a_person_raised() -> None:
    """Raised to 30 for everyone: the step that says 10 takes it from nobody."""
    w = touched(reached("Adopt"), percent=30, kind="higher")
    w.turn()
    w.flags[0].drift = None
    w.settle()
    assert {write["all"] for write in w.flags[0].writes} == {30}


def test_adopt_takes_no_change_that_is_no_share() -> None:
    """Other constraints, or a strategy of somebody's that opened the flag: that is waited for."""
    w = touched(reached("Adopt"), percent=30, kind="higher", plain=False)
    w.seconds(30)
    assert w.status.waiting is not None
    assert w.status.waiting.reason == "FlagRaised"


def test_enforce_lowers_what_was_raised() -> None:
    """Back to the step's share by one write, and the release goes on."""
    w = touched(reached("Enforce"), percent=60, kind="higher")
    w.seconds(3)
    assert w.flags[0].writes == [{"all": 0, "beta": 100}]
    w.settle()
    assert w.status.stable_revision == "v2"
