"""Templates beside the judge: what they add to its view, and that one good look long ago is no proof of today."""

from typing import Any

import msgspec
import pytest

from daemon.api.canary import CanarySpec
from daemon.api.status import CanaryStatus, RolloutStatus
from daemon.rollout import checks
from daemon.rollout.clock import stamp
from daemon.rollout.model import CheckView, JudgeView, Observed
from daemon.rollout.steps import plan_of
from daemon.rollout.turn import Turn

NOW = 1_760_000_000.0
GOOD = CheckView(template="slo", moment="Background", phase="Running", text="rate measured 1", good_at=NOW - 5)


def joined(judge: JudgeView | None, *views: CheckView, mode: str = "TemplatesOnly", **rollout: Any) -> JudgeView | None:
    """What the core sees of an exposed release with one background template and one of a step."""
    spec = msgspec.convert(
        {
            "workloadRef": {"name": "web"},
            "analysis": {"judge": mode, "templates": [{"name": "slo"}]},
            "steps": [{"weight": 10}, {"analysis": {"name": "gate"}}, {"weight": 50}],
        },
        CanarySpec,
    )
    begun = {"revision": "a1b2c", "started_at": stamp(NOW - 60), "exposed_at": stamp(NOW - 10), **rollout}
    status = CanaryStatus(phase="Progressing", rollout=RolloutStatus(**begun))
    return checks.judged(Turn("web", plan_of(spec, gitops=False), status, Observed(workload=None, judge=judge, checks=views), NOW))


def action(judge: JudgeView | None, *views: CheckView, **more: Any) -> tuple[str, str]:
    found = joined(judge, *views, **more)
    assert found is not None
    return found.action, found.code


def changed(**fields: Any) -> CheckView:
    return msgspec.structs.replace(GOOD, **fields)


def test_a_template_that_is_good_now_lets_a_release_go_on() -> None:
    """Its newest measurement is good and younger than the exposure of the step."""
    assert action(None, GOOD) == ("Promote", "Proven")
    assert action(None, changed(phase="Successful", good_at=None)) == ("Promote", "Proven")


@pytest.mark.parametrize(
    "view",
    [
        changed(good_at=NOW - 30),  # before this step was exposed
        changed(good_at=None),
        changed(phase="Pending", good_at=None),
    ],
)
def test_what_was_good_earlier_or_never_holds_it(view: CheckView) -> None:
    """No harm seen is not fine."""
    assert action(None, view) == ("Hold", "Checking")


def test_a_template_that_has_not_begun_holds_it() -> None:
    """Also before its first view is there."""
    assert action(None) == ("Hold", "Checking")
    assert action(None, GOOD, exposed_at=None) == ("Hold", "Checking")


@pytest.mark.parametrize("absent", ["NoData", "ProviderError"])
def test_absent_data_is_told_as_such(absent: Any) -> None:
    """So that the owner's outcomes for it apply."""
    assert action(None, changed(absent=absent)) == ("Hold", absent)


@pytest.mark.parametrize("judge", [None, JudgeView(action="Promote"), JudgeView(action="Hold")])
def test_a_failed_template_ends_it_whatever_the_judge_says(judge: JudgeView | None) -> None:
    """And names the metric."""
    found = joined(judge, changed(phase="Failed", text="rate measured 9"), mode="Statistical")
    assert found is not None
    assert (found.action, found.code, found.text) == ("Rollback", "CheckFailed", "template slo: rate measured 9")


def test_a_good_template_promotes_nothing_beside_the_judge() -> None:
    """Under Statistical it can only stop."""
    assert action(JudgeView(action="Hold", code="MoreEvidenceNeeded"), GOOD, mode="Statistical") == ("Hold", "MoreEvidenceNeeded")
    assert action(JudgeView(action="Promote", code="Proven"), GOOD, mode="Statistical") == ("Promote", "Proven")
    assert action(JudgeView(action="Rollback", code="Worse"), GOOD, mode="Statistical") == ("Rollback", "Worse")


def test_an_unsettled_template_holds_what_the_judge_would_promote() -> None:
    """Both must agree to go on."""
    assert action(JudgeView(action="Promote", code="Proven"), changed(good_at=None), mode="Statistical") == ("Hold", "Checking")


def test_an_inconclusive_template_leaves_it_to_the_owner() -> None:
    """Neither good nor bad."""
    assert action(None, changed(phase="Inconclusive")) == ("Inconclusive", "CheckInconclusive")


def test_the_template_of_another_step_has_no_say() -> None:
    """What failed in a step that is over, or was measured for one to come, is not of this one."""
    other = CheckView(template="gate", moment="Step", step=1, phase="Failed", text="no")
    assert action(None, GOOD, other, step=0) == ("Promote", "Proven")
    assert action(None, GOOD, other, step=1) == ("Rollback", "CheckFailed")


def test_without_templates_the_judge_s_view_is_left_alone() -> None:
    """The very same value: a release without templates pays nothing for them."""
    spec = msgspec.convert({"workloadRef": {"name": "web"}}, CanarySpec)
    judge = JudgeView(action="Hold")
    status = CanaryStatus(phase="Progressing", rollout=RolloutStatus(revision="a", started_at=stamp(NOW)))
    turn = Turn("web", plan_of(spec, gitops=False), status, Observed(workload=None, judge=judge), NOW)
    assert checks.judged(turn) is judge
