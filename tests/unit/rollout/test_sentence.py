"""The sentence: the shapes of the design, its zero and plural cases, and what it must never claim."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.api.canary import Flag
from daemon.api.status import CanaryStatus, FlagStatus, FlagUsage, RolloutStatus, RouteStatus
from daemon.rollout import report, sentence
from daemon.rollout.clock import stamp
from daemon.rollout.model import JudgeView, MetricView, Observed
from daemon.rollout.steps import plan_of
from daemon.rollout.turn import Turn
from tests.unit.rollout.worlds import spec_of

START = 1_760_000_000.0
FLAG = FlagStatus(name="new-checkout", key="new-checkout", source="flagd", wanted=100)


def metric(events: int, total: int, **changes: Any) -> MetricView:
    plain: dict[str, Any] = {
        "name": "errors",
        "canary_events": events,
        "canary_total": total,
        "baseline_events": 12,
        "baseline_total": 10_000,
        "log_worse": 7.8,
        "log_fine": 3.1,
        "bound": "at most 0.3 pp worse (95 % sure)",
    }
    return MetricView(**(plain | changes))


def turn(after: float, *metrics: MetricView, flags: tuple[FlagStatus, ...] = (), **rollout: Any) -> Turn:
    judge = JudgeView(action="Hold", metrics=metrics, culprit="errors", seconds_more=rollout.pop("more", None)) if metrics else None
    status = CanaryStatus(
        rollout=RolloutStatus(revision="7f9c", started_at=stamp(START), **rollout),
        flags=list(flags),
        routes=[RouteStatus(kind="HTTPRoute", name="checkout")],
    )
    return Turn("checkout", plan_of(spec_of(), gitops=False), status, Observed(workload=None, judge=judge), START + after)


def test_promoted() -> None:
    """Who, after how long, the counts of both arms, the bound, and the flag."""
    text = sentence.promoted(turn(490, metric(21, 18_340), flags=(FLAG,), promote_reason="Proven"))
    assert text == (
        "checkout 7f9c promoted after 8 min 10 s: 21 of 18 340 canary requests failed (0.11 %), baseline 0.12 %; "
        "at most 0.3 pp worse (95 % sure); flag new-checkout 100 %."
    )


@pytest.mark.parametrize(
    ("usage", "says"),
    [
        (FlagUsage(found="NoExposure"), "flag new-checkout 100 % (not proven: it was never evaluated)."),
        (FlagUsage(found="NoExposure", no=1200), "flag new-checkout 100 % (not proven: it was evaluated 1 200 times and never on)."),
        (
            FlagUsage(found="ExposureMismatch", yes=900, no=100),
            "flag new-checkout 100 % (met otherwise than set: on in 90 % of 1 000 evaluations).",
        ),
        (FlagUsage(found="Confirmed", yes=900, no=100), "flag new-checkout 100 %."),
        (FlagUsage(found="Unknown", message="404"), "flag new-checkout 100 %."),
    ],
)
def test_a_promotion_says_that_nobody_met_its_flag(usage: FlagUsage, says: str) -> None:
    """No harm was seen of what nobody had; what is not known is not said."""
    flag = msgspec.structs.replace(FLAG, usage=usage)
    for why in ("Proven", "Person", "Owner", "Hotfix"):
        assert sentence.promoted(turn(490, metric(21, 18_340), flags=(flag,), promote_reason=why)).endswith(says)


def test_promoted_against_a_bound_that_few_pods_widened() -> None:
    """Of all metrics, not of the first alone; and the status says it in the metric's own line."""
    widened = {"bound": "", "widened": "few pods: bound widened to 43 % fewer"}
    seen = turn(490, metric(21, 18_340), metric(900, 18_340, name="orders", **widened), promote_reason="Proven")
    assert seen.seen.judge is not None
    judge = msgspec.structs.replace(seen.seen.judge, widened="few pods: bound widened to 43 % fewer (orders)")
    seen = Turn(seen.name, seen.plan, seen.status, msgspec.structs.replace(seen.seen, judge=judge), START + 490)
    assert sentence.promoted(seen).endswith("; at most 0.3 pp worse (95 % sure); few pods: bound widened to 43 % fewer (orders).")
    report.list_metrics(seen)
    assert [m.bound for m in seen.status.metrics] == ["at most 0.3 pp worse (95 % sure)", "few pods: bound widened to 43 % fewer"]


def test_rolled_back() -> None:
    """What, when, at which share, the odds, how many saw it, and how fast the exposure ended."""
    back = {
        "abort_at": stamp(START + 105),
        "weight_at_abort": 5,
        "rollback_reason": "Worse",
        "flags_zeroed_at": stamp(START + 105.4),
        "flags_at_abort": ["new-checkout"],
        "weight_zeroed_at": stamp(START + 105.9),
    }
    text = sentence.rolled_back(turn(106, metric(26, 530, baseline_events=11), flags=(FLAG,), **back))
    assert text == (
        "checkout 7f9c rolled back after 1 min 45 s at 5 %: 26 of 530 canary requests failed (4.9 %), baseline 0.11 %; "
        "2 400 : 1 against 'no worse than tolerated', 100 : 1 needed. 530 requests saw it. "
        "Flag new-checkout back at 0 after 0.4 s, traffic after 0.9 s."
    )


def test_inconclusive() -> None:
    """What is known, how much longer it would take, and how to decide."""
    text = sentence.inconclusive(turn(3600, metric(3, 1_440, bound="at most 2.1 pp worse"), weight_reached=25, more=8400.0))
    assert text.startswith("checkout 7f9c held at 25 % after 1 h: 3 of 1 440 canary requests failed")
    assert "(now: at most 2.1 pp worse); about 2 h 20 min more; decide: linnet promote|abort checkout." in text


def test_inconclusive_against_a_bound_that_few_pods_widened() -> None:
    """Who waits for a proof is told that it would be of less than the declared bound."""
    seen = turn(3600, metric(3, 1_440, bound="at most 2.1 pp worse"), weight_reached=25)
    assert seen.seen.judge is not None
    judge = msgspec.structs.replace(seen.seen.judge, widened="few pods: bound widened to 43 % fewer (orders)")
    seen = Turn(seen.name, seen.plan, seen.status, msgspec.structs.replace(seen.seen, judge=judge), START + 3600)
    assert "(now: at most 2.1 pp worse; few pods: bound widened to 43 % fewer (orders)); decide:" in sentence.inconclusive(seen)


@pytest.mark.parametrize("reason", ["Person", "Override", "Owner"])
def test_a_release_without_a_proof_claims_none(reason: str) -> None:
    """No bound, no 'fine', no 'sure'; the sentence says whose decision it was (promise P4)."""
    text = sentence.promoted(turn(60, metric(0, 50), promote_reason=reason, rollback_cause="no samples of the canary"))
    assert not re.search(r"\b(fine|sure|proven|worse)\b", text)
    assert re.search("person|override|owner", text)


def test_several_flags_are_named_in_the_plural() -> None:
    """'Flags a, b back at 0'."""
    flags = tuple(FlagStatus(name=n, key=n, source="flagd") for n in ("a", "b"))
    back = {"abort_at": stamp(START), "rollback_reason": "Aborted", "rollback_cause": "stopped by ada", "flags_zeroed_at": stamp(START)}
    text = sentence.rolled_back(turn(1, flags=flags, flags_at_abort=["a", "b"], **back))
    assert text == "checkout 7f9c rolled back after 0 s at 0 %: stopped by ada. Flags a, b back at 0 after 0 s."


def test_a_flag_that_was_never_on_did_not_come_back() -> None:
    """Written at 0, or not at all: nobody had it, so the sentence speaks of the others alone, or of none."""
    flags = tuple(FlagStatus(name=n, key=n, source="flagd") for n in ("a", "b"))
    back = {"abort_at": stamp(START), "rollback_reason": "Aborted", "rollback_cause": "stopped by ada", "flags_zeroed_at": stamp(START)}
    assert sentence.rolled_back(turn(1, flags=flags, flags_at_abort=["b"], **back)).endswith("stopped by ada. Flag b back at 0 after 0 s.")
    assert sentence.rolled_back(turn(1, flags=flags, **back)).endswith("stopped by ada.")


def test_a_flag_that_is_still_on_is_said_to_be() -> None:
    """The traffic is back, the flag is not: with the source's own words."""
    flags = (FlagStatus(name="a", key="a", source="flagd", written=40, message="connection refused"),)
    back = {"abort_at": stamp(START), "rollback_reason": "Aborted", "rollback_cause": "stopped by ada", "weight_zeroed_at": stamp(START)}
    text = sentence.rolled_back(turn(1, flags=flags, flags_at_abort=["a"], **back))
    assert text.endswith("stopped by ada. Traffic after 0 s. Flag a is not back at 0 yet: connection refused.")


def test_a_flag_that_was_put_back_is_not_said_to_be_on() -> None:
    """`onPromotion: Remove`: the release is everybody's, the flag is what it was."""
    plan = plan_of(spec_of(flags=[Flag(name="new-checkout", on_promotion="Remove")]), gitops=False)
    made = turn(490, metric(21, 18_340), flags=(FLAG,), promote_reason="Proven")
    made.plan = plan
    assert sentence.promoted(made).endswith("; flag new-checkout as it was found.")


@pytest.mark.parametrize(
    ("events", "total", "text"),
    [(0, 0, "no requests"), (0, 10, "0 %"), (1, 1, "100 %"), (1, 3, "33 %"), (26, 530, "4.9 %"), (1, 100_000, "<0.01 %")],
)
def test_a_share_has_the_digits_it_needs(events: int, total: int, text: str) -> None:
    """Small shares are not rounded to a nought that looks like none."""
    assert sentence.percent(events, total) == text


@pytest.mark.parametrize(
    ("events", "total", "text"),
    [
        (0, 0, "no canary requests"),
        (0, 1, "0 of 1 canary request failed"),
        (1, 1, "1 of 1 canary request failed"),
        (0, 2, "0 of 2 canary requests failed"),
    ],
)
def test_counts_agree_in_number(events: int, total: int, text: str) -> None:
    """One request is a request."""
    back: dict[str, Any] = {"abort_at": stamp(START + 9), "rollback_reason": "Worse"}
    assert text in sentence.rolled_back(turn(9, metric(events, total), **back))


@given(st.floats(-50, 1e6))
def test_odds_never_overflow_and_never_read_as_zero(nats: float) -> None:
    """However strong the evidence, a line of text."""
    assert re.fullmatch(r"[\d ]+(\.\d)? : 1", sentence.odds(nats))
    assert len(sentence.odds(nats)) < 40


@given(st.text(max_size=4000), st.text(min_size=1, max_size=100))
def test_no_words_of_others_make_a_sentence_too_long(cause: str, key: str) -> None:
    """Causes are cut where they enter; eight flags and a long name still fit the status."""
    flags = tuple(FlagStatus(name="f", key=key * 2, source="s") for _ in range(8))
    back = {"abort_at": stamp(START), "rollback_reason": "PodsFailing", "rollback_cause": cause[:1000], "flags_zeroed_at": stamp(START)}
    assert len(sentence.rolled_back(turn(1, flags=flags, **back))) <= 2048
