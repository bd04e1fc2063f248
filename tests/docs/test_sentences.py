"""Sentences and figures that the documents show are what the code says for such numbers."""

from __future__ import annotations

import math
import re

import msgspec
import pytest

from analyzers.options import JudgeConfig, MetricConfig
from analyzers.planner import plan
from daemon.api.canary import CanarySpec, WorkloadRef
from daemon.api.defaults import ACCEPTABLE, TOLERATED
from daemon.api.status import CanaryStatus, FlagStatus, RolloutStatus, RouteStatus
from daemon.rollout import sentence
from daemon.rollout.clock import stamp
from daemon.rollout.model import JudgeView, MetricView, Observed
from daemon.rollout.steps import plan_of
from daemon.rollout.turn import Turn
from tests.docs.pages import ROOT

NOW = 1_800_000_000.0


def turn(judge: JudgeView, rollout: RolloutStatus, *, name: str = "checkout", flags: tuple[FlagStatus, ...] = ()) -> Turn:
    """A release about which a sentence can be said."""
    status = CanaryStatus(rollout=rollout, flags=list(flags), routes=[RouteStatus(kind="HTTPRoute", name=name)])
    spec = CanarySpec(workload_ref=WorkloadRef(name=name))
    return Turn(name, plan_of(spec, gitops=False), status, Observed(workload=None, judge=judge), NOW)


def metric(events: int, total: int, base: int, base_total: int, *, odds: float = 1.0, bound: str = "") -> MetricView:
    return MetricView(
        name="errors",
        canary_events=events,
        canary_total=total,
        baseline_events=base,
        baseline_total=base_total,
        log_worse=math.log(odds),
        log_fine=0.0,
        bound=bound,
    )


def started(seconds: float, revision: str = "7f9c2", **more: object) -> RolloutStatus:
    return msgspec.structs.replace(RolloutStatus(revision=revision, started_at=stamp(NOW - seconds)), **more)


def shown(page: str, start: str) -> str:
    """The sentence on a page, as one line."""
    text = " ".join((ROOT / page).read_text(encoding="utf-8").split())
    return text[text.index(start) :]


def promoted() -> str:
    judge = JudgeView(action="Promote", metrics=(metric(0, 3459, 0, 3858, bound="at most 0.3 pp worse (95 % sure)"),))
    flag = FlagStatus(name="new-checkout", key="new-checkout", source="default", wanted=100)
    return sentence.promoted(turn(judge, started(52, "f985d", promote_reason="Proven"), name="shop", flags=(flag,)))


def rolled_back(
    name: str, revision: str, flag: str, counts: MetricView, *, lasted: float, weight: int, flags_after: float, traffic_after: float
) -> str:
    judge = JudgeView(action="Rollback", culprit="errors", metrics=(counts,))
    ended = NOW - 20
    rollout = started(
        20 + lasted,
        revision,
        rollback_reason="Worse",
        weight_at_abort=weight,
        abort_at=stamp(ended),
        flags_zeroed_at=stamp(ended + flags_after),
        flags_at_abort=[flag],
        weight_zeroed_at=stamp(ended + traffic_after),
    )
    return sentence.rolled_back(turn(judge, rollout, name=name, flags=(FlagStatus(name=flag, key=flag, source="flagd"),)))


def inconclusive() -> str:
    judge = JudgeView(action="Hold", seconds_more=8400, metrics=(metric(0, 410, 0, 415, bound="at most 2 pp worse (95 % sure)"),))
    return sentence.inconclusive(turn(judge, started(3720, weight_reached=50)))


def test_the_rolled_back_sentences_are_the_codes() -> None:
    """Word for word, from the numbers in them."""
    counts = metric(7, 178, 0, 1600, odds=295.0)
    readme = rolled_back("shop", "30d47", "express-pay", counts, lasted=17, weight=10, flags_after=0.6, traffic_after=0.6)
    assert shown("README.md", "shop 30d47 rolled back").startswith(readme)
    counts = metric(26, 530, 11, 10_000, odds=2450.0)
    night = rolled_back("checkout", "7f9c2", "new-checkout", counts, lasted=105, weight=5, flags_after=0.4, traffic_after=0.9)
    assert shown("docs/how-to/why-was-my-release-stopped.md", "checkout 7f9c2 rolled back").startswith(night)


def test_the_promoted_sentence_is_the_codes() -> None:
    """It was printed by a real release; the code would still print it."""
    assert shown("README.md", "shop f985d promoted").startswith(promoted())


def test_the_inconclusive_sentence_is_the_codes() -> None:
    """With what is known, what is missing, and how to decide."""
    page = "docs/how-to/why-was-my-release-stopped.md"
    assert shown(page, "checkout 7f9c2 held at").startswith(inconclusive())


def seconds(text: str) -> float:
    """'1 h 25 min' or '2.5 min' as seconds."""
    return sum(float(number) * {"h": 3600, "min": 60}[unit] for number, unit in re.findall(r"([\d.]+) (h|min)", text))


def rows() -> list[tuple[float, float, float, float]]:
    text = (ROOT / "docs" / "explanation" / "judge.md").read_text(encoding="utf-8")
    found = re.findall(r"^\| ([\d.]+) \| (\d+) % \| ([^|]+) \| ([^|]+) \|$", text, re.MULTILINE)
    return [(float(rate), float(share) / 100, seconds(detect), seconds(prove)) for rate, share, detect, prove in found]


@pytest.mark.parametrize(("rate", "share", "detect", "prove"), rows())
def test_the_table_of_times_is_the_planners(rate: float, share: float, detect: float, prove: float) -> None:
    """At the default margins, a baseline of 0.1 %, and one percentage point more."""
    config = JudgeConfig(metrics=(MetricConfig(name="errors"),))
    found = plan(config, share, rate, 0.001)
    assert found.detect_minutes is not None
    assert found.prove_minutes is not None
    assert detect == pytest.approx(found.detect_minutes * 60, rel=0.12)
    assert prove == pytest.approx(found.prove_minutes * 60, rel=0.12)


def test_the_table_of_times_is_read() -> None:
    """A table that was reformatted would be tested by nothing."""
    assert len(rows()) == 6


def test_the_default_margins_are_told_as_they_are() -> None:
    """Where people choose their own, the page says what they replace."""
    text = (ROOT / "docs" / "explanation" / "judge.md").read_text(encoding="utf-8")
    assert f"| `rollbackIfWorseBy` | {TOLERATED} |" in text
    assert f"| `promoteIfWithin` | {ACCEPTABLE} |" in text
