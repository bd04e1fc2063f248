"""The judge's rules one by one, on counts that are written down rather than drawn."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from analyzers.errors import AnalysisError, ConfigError, TickOrderError
from analyzers.judge import Judge, JudgeState
from analyzers.options import JudgeConfig, MetricConfig, latency
from analyzers.ticks import Action, Answer, BucketCounts, Code, Problem, ProblemKind, Tick, Verdict
from tests.unit.analyzers.world import config, errors_metric, tick

FINE = ((750, 1), (14_250, 14))


def _run(judge: Judge, ticks: list[Tick]) -> list[Answer]:
    return [judge.tick(t) for t in ticks]


def _good(start: int, count: int, weight: float = 5.0) -> list[Tick]:
    return [tick(k, weight, *FINE) for k in range(start, start + count)]


def test_a_good_canary_is_promoted_with_its_bound() -> None:
    """Enough good ticks: Pass, with numbers that a sentence can be built on."""
    answers = _run(Judge(config()), _good(0, 60))
    assert answers[-1].action is Action.PROMOTE
    assert answers[-1].verdict is Verdict.PASS
    assert answers[-1].code is Code.PROVEN_FINE
    line = answers[-1].metrics[0]
    assert line.fine_proven
    assert line.excess_upper_pp is not None
    assert line.excess_upper_pp <= 1.0
    assert answers[5].action is Action.ADVANCE


def test_a_bad_canary_is_rolled_back_for_good() -> None:
    """A crossing is final: good ticks afterwards do not take it back."""
    judge = Judge(config())
    answers = _run(judge, [tick(k, 5, (750, 40), (14_250, 14)) for k in range(12)])
    assert answers[-1].action is Action.ROLLBACK
    assert answers[-1].verdict is Verdict.FAIL
    assert answers[-1].wanted_weight == 0.0
    reason = answers[-1].reasons[0]
    assert reason.code is Code.WORSE_THAN_TOLERATED
    assert reason.numbers["odds"] >= 100
    assert _run(judge, _good(12, 60))[-1].verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("weight", "canary", "baseline"),
    [
        (0.0, (0, 0), (15_000, 15)),
        (0.0, (100, 90), (15_000, 15)),
        (100.0, (15_000, 15), (0, 0)),
        (100.0, (15_000, 9000), (100, 0)),
        (5.0, None, (14_250, 14)),
        (5.0, (750, 1), None),
        (5.0, (0, 0), (14_250, 14)),
    ],
    ids=["weight 0", "leftovers at 0", "weight 100", "leftovers at 100", "no canary", "no baseline", "empty canary"],
)
def test_a_tick_that_compares_nothing_moves_no_evidence(weight: Any, canary: Any, baseline: Any) -> None:
    """T17: shares 0 and 1 and empty arms leave every log finite and as it was."""
    judge = Judge(config())
    before = _run(judge, _good(0, 10))[-1].metrics[0]
    after = judge.tick(tick(10, weight, canary, baseline)).metrics[0]
    assert (after.log_e_worse, after.log_e_fine, after.log_e_catastrophe) == (
        before.log_e_worse,
        before.log_e_fine,
        before.log_e_catastrophe,
    )
    assert math.isfinite(after.log_e_worse)


def test_malformed_counts_are_stopped_at_the_door() -> None:
    """T17: NaN in the data is treated as no data."""
    judge = Judge(config())
    before = _run(judge, _good(0, 10))[-1].metrics[0]
    poisoned = judge.tick(tick(10, 5, (750, math.nan), (14_250, math.inf)))  # type: ignore[arg-type]
    assert poisoned.metrics[0].log_e_worse == before.log_e_worse
    assert math.isfinite(judge.tick(_good(11, 1)[0]).log_e_total)


@pytest.mark.parametrize("kind", list(ProblemKind))
def test_a_problem_with_the_data_holds_and_is_named(kind: Any) -> None:
    """Stale, partial, foreign writes and the rest: no evidence from that tick, and the reason says so."""
    judge = Judge(config())
    before = _run(judge, _good(0, 60))[-1]
    assert before.action is Action.PROMOTE
    bad = judge.tick(tick(60, 5, (750, 700), (14_250, 14), problems=(Problem(kind=kind, text="what happened"),)))
    assert bad.action is Action.HOLD
    assert bad.code is Code.DATA_PROBLEM
    assert "what happened" in bad.reasons[0].text
    assert bad.metrics[0].log_e_worse == before.metrics[0].log_e_worse


def test_the_warm_up_listens_to_an_outage_only() -> None:
    """In the first 60 s the main bets wait; a total failure still ends it within three ticks."""
    answers = _run(Judge(config()), _good(0, 4))
    assert all(a.code is not Code.PROVEN_FINE for a in answers)
    assert answers[-1].metrics[0].ticks_used == 0
    outage = _run(Judge(config()), [tick(k, 5, (750, 750), (14_250, 14)) for k in range(3)])
    assert outage[-1].action is Action.ROLLBACK
    assert outage[-1].reasons[0].numbers["canary_requests"] == outage[-1].reasons[0].numbers["canary_errors"] == 2250


def test_pods_that_are_not_warm_keep_the_main_bets_waiting() -> None:
    """The daemon knows more about cold pods than the clock does."""
    judge = Judge(config())
    answers = _run(judge, [msgspec.structs.replace(t, warm=False) for t in _good(0, 20)])
    assert answers[-1].metrics[0].ticks_used == 0
    assert any(r.code is Code.WARMING_UP for r in answers[-1].reasons)


def _climbing(settle: int) -> Answer:
    """Each change of weight costs the canary some errors for two scrapes, as a router that is reprogrammed does."""
    judge = Judge(config(settle_scrapes=settle, warm_up_seconds=0.0))
    answer = judge.tick(tick(0, 0, (0, 0), (15_000, 15)))
    for k in range(1, 49):
        weight = (5.0, 10.0, 20.0, 30.0, 40.0, 50.0)[(k - 1) // 8]
        canary = round(15_000 * weight / 100)
        rough = (k - 1) % 8 < 2
        answer = judge.tick(
            tick(k, weight, (canary, round(canary * (0.02 if rough else 0.001))), (15_000 - canary, round((15_000 - canary) * 0.001)))
        )
    return answer


def test_ticks_around_a_change_of_weight_belong_to_nobody() -> None:
    """The settle rule: what the change itself does is not held against the release."""
    assert _climbing(2).verdict is not Verdict.FAIL


def test_without_the_settle_rule_each_change_of_weight_counts_against_the_canary() -> None:
    """The twin: the same judge without the rule rolls back."""
    assert _climbing(0).verdict is Verdict.FAIL


def test_bad_news_right_after_a_climb_counts_but_hushed_and_after_a_step_down_not_at_all() -> None:
    """Six scrapes of it, two for each of three climbs, stay short of a verdict; what ends late is only blamed on more traffic."""
    judge = Judge(config(warm_up_seconds=0.0))
    _run(judge, [tick(k, 1, (150, 0), (14_850, 15)) for k in range(6)])

    def after(index: int, weight: float) -> float:
        canary = round(15_000 * weight / 100)
        before = judge.state.metrics["errors"].ratio
        judge.tick(tick(index, weight, (canary, round(0.1 * canary)), (15_000 - canary, 15)))
        now = judge.state.metrics["errors"].ratio
        assert before is not None and now is not None
        return max(b - a for a, b in zip(before.worse.logs, now.worse.logs, strict=True))

    climbed = [after(6, 5), after(7, 5), after(8, 15), after(9, 15)]
    assert climbed == pytest.approx([judge.config.fine_cap] * 4)
    assert 6 * judge.config.fine_cap < math.log(1 / judge.config.alpha)
    assert [after(10, 5), after(11, 5)] == [0.0, 0.0]
    assert after(12, 5) == pytest.approx(judge.config.cap)


def test_a_metric_with_a_lag_waits_after_each_change() -> None:
    """T7's mechanism: outcomes known 5 minutes later are ignored for as long after a change, and used afterwards."""
    judge = Judge(config(lag=300.0))
    answers = _run(judge, _good(0, 30))
    assert answers[19].metrics[0].ticks_used == 0
    assert answers[-1].metrics[0].ticks_used == 10


def test_an_unseen_canary_is_no_data_after_two_ticks_and_the_grace() -> None:
    """Nothing seen where 20 requests were expected; one empty tick is chance, and a silent service expects nothing."""
    judge = Judge(config())
    answers = _run(judge, [tick(k, 5, (0, 0), (14_250, 14)) for k in range(6)])
    assert answers[1].verdict is Verdict.PENDING
    assert answers[-1].verdict is Verdict.NO_DATA
    assert answers[-1].action is Action.HOLD
    assert answers[-1].code is Code.NO_CANARY_TRAFFIC
    later = Judge(config())
    _run(later, _good(0, 10))
    assert [a.verdict for a in _run(later, [tick(10 + k, 5, (0, 0), (14_250, 14)) for k in range(2)])] == [Verdict.PENDING, Verdict.NO_DATA]
    quiet = _run(Judge(config()), [tick(k, 5, (0, 0), (3, 0)) for k in range(10)])
    assert quiet[-1].verdict is Verdict.PENDING


def test_a_service_without_traffic_is_no_data_at_the_deadline() -> None:
    """Nothing was ever compared: the deadline says NoData, not Inconclusive."""
    judge = Judge(config(deadline_seconds=300.0))
    answers = _run(judge, [tick(k, 5, (0, 0), (0, 0)) for k in range(25)])
    assert answers[10].verdict is Verdict.PENDING
    assert answers[-1].action is Action.INCONCLUSIVE
    assert answers[-1].verdict is Verdict.NO_DATA


def test_the_deadline_is_inconclusive_with_the_bound_reached() -> None:
    """Low traffic: undecided, with what was shown and how long it would take."""
    judge = Judge(config(deadline_seconds=900.0))
    answers = _run(judge, [tick(k, 20, (60, 1), (240, 4)) for k in range(62)])
    last = answers[-1]
    assert last.verdict is Verdict.INCONCLUSIVE
    assert last.code is Code.DEADLINE
    assert "pp worse" in last.reasons[0].text
    assert last.reasons[0].numbers["errors.excess_upper_pp"] <= 10.0
    assert last.reasons[0].numbers["errors.seconds_needed"] > 0


def test_leaning_evidence_lowers_the_weight_before_the_verdict() -> None:
    """Retreat: at 5 : 1 against, to the lowest weight of the ladder that still brings 30 requests a scrape."""
    judge = Judge(config())
    _run(judge, _good(0, 8, weight=50.0))
    answers = _run(judge, [tick(8 + k, 50.0, (7500, 60), (7500, 8)) for k in range(3)])
    first = next(a for a in answers if a.wanted_weight is not None)
    assert first.action is Action.HOLD
    assert first.wanted_weight == 1.0
    assert any(r.code is Code.LEANING_BAD for r in first.reasons)


def test_both_arms_sick_after_a_climb_means_weight_zero_and_no_blame() -> None:
    """A shared lock or pool: back to 0, one more climb when calm, and the second time it stays at 0."""
    judge = Judge(config())
    _run(judge, _good(0, 10, weight=5.0))
    sick = _run(judge, [tick(10 + k, 20, (3000, 300), (12_000, 1200)) for k in range(3)])
    assert (sick[-1].wanted_weight, sick[-1].verdict, sick[-1].code) == (0.0, Verdict.PENDING, Code.BOTH_WORSENED)
    calm = _run(judge, [tick(13 + k, 0, (0, 0), (15_000, 15)) for k in range(9)])
    assert calm[-1].action is Action.ADVANCE
    again = _run(judge, [tick(22 + k, 20, (3000, 300), (12_000, 1200)) for k in range(3)])
    assert again[-1].verdict is Verdict.INCONCLUSIVE
    assert again[-1].wanted_weight == 0.0


def test_a_shared_incident_is_neither_blamed_nor_trusted() -> None:
    """Both arms at 10 % long after a change: no rollback, no promotion, and the reason names the baseline."""
    judge = Judge(config())
    _run(judge, _good(0, 30))
    answers = _run(judge, [tick(30 + k, 5, (750, 75), (14_250, 1425)) for k in range(20)])
    assert {a.action for a in answers[1:]} == {Action.HOLD}
    assert any(r.code is Code.BASELINE_SICK for r in answers[-1].reasons)


def test_ticks_come_once_and_in_order() -> None:
    """The same or an older interval is refused, loudly."""
    judge = Judge(config())
    _run(judge, _good(0, 3))
    with pytest.raises(TickOrderError, match="tick 2 came after tick 2"):
        judge.tick(_good(2, 1)[0])


def test_missing_ticks_pass_as_time_without_data() -> None:
    """A gap in the index gives no evidence but counts for every window."""
    judge = Judge(config(deadline_seconds=600.0))
    _run(judge, _good(0, 5))
    assert judge.tick(_good(200, 1)[0]).verdict in {Verdict.INCONCLUSIVE, Verdict.NO_DATA}


def test_after_a_long_silence_a_proof_has_to_gain_again() -> None:
    """Ten minutes without a tick: what was proven before is no word on the last five minutes, and they have to be seen again."""
    judge = Judge(config(deadline_seconds=1e6))
    assert _run(judge, _good(0, 60))[-1].action is Action.PROMOTE
    after = [a.action for a in _run(judge, _good(100, 5))]
    assert Action.PROMOTE not in after[:3]
    assert after[-1] is Action.PROMOTE


@pytest.mark.parametrize("kind", ["errors", "latency"])
def test_messages_that_come_again_never_weigh_more_than_once(kind: Any) -> None:
    """Where each is tried three times, `min_phi` 3 takes a third of what the counts say, as long as the cap is not met."""
    edges = (0.05, 0.1, 0.25)

    def heard(min_phi: float) -> float:
        known = {"history_phi": 1.0} if kind == "errors" else {"shape": (0.4, 0.1, 0.01), "shape_phi": (1.0, 1.0, 1.0)}
        shape = latency(kind, edges) if kind == "latency" else MetricConfig(name=kind)
        metric = msgspec.structs.replace(shape, min_phi=min_phi, **known)
        judge = Judge(JudgeConfig(metrics=(metric,), warm_up_seconds=0.0, settle_scrapes=0, cap=1e9))
        buckets = {kind: BucketCounts((50, 30, 12, 8), (600, 300, 90, 10))}
        answer = judge.tick(
            Tick(index=0, at=0.0, weight=9.0, arms=errors_metric((100, 6), (1000, 10)) if kind == "errors" else {}, buckets=buckets)
        )
        assert answer.metrics[0].phi >= min_phi, "the log tells the dispersion that was in force"
        return answer.log_e_total

    assert heard(1.0) > 2.0
    assert 0.2 < heard(3.0) < 0.6 * heard(1.0)


def test_a_restart_at_any_tick_changes_nothing() -> None:
    """State through JSON after every tick: the answers are equal, number for number."""
    whole, ticks = Judge(config()), [tick(k, (1, 5, 20)[k // 10], (150 + 7 * k, k % 3), (9000, 9 + k % 5)) for k in range(30)]
    stopped = Judge(config())
    for one in ticks:
        expected = whole.tick(one)
        stopped = Judge(config(), msgspec.json.decode(msgspec.json.encode(stopped.state), type=JudgeState))
        assert stopped.tick(one) == expected


def test_state_of_other_options_or_another_version_is_refused() -> None:
    """Evidence gathered under other margins is no evidence under these."""
    judge = Judge(config())
    judge.tick(_good(0, 1)[0])
    with pytest.raises(AnalysisError, match="options changed"):
        Judge(config(max_false_rollback_percent=2.0), judge.state)
    with pytest.raises(AnalysisError, match="version 99"):
        Judge(config(), msgspec.structs.replace(judge.state, version=99))


def test_several_metrics_roll_back_together_and_promote_only_all() -> None:
    """One guilty metric of two is named; one unproven metric of two holds the promotion."""
    both = JudgeConfig(metrics=(MetricConfig(name="errors", history_phi=1.0), MetricConfig(name="exceptions", history_phi=1.0)))
    assert sum(both.metric_weight(m.name) for m in both.metrics) + 0.1 == pytest.approx(1.0)

    def two(k: int, second: tuple[int, int]) -> Tick:
        arms = errors_metric(*FINE) | {"exceptions": errors_metric(second, (14_250, 14))["errors"]}
        return Tick(index=k, at=k * 15.0, weight=5, arms=arms)

    bad = Judge(both)
    answers = _run(bad, [two(k, (750, 30)) for k in range(15)])
    assert answers[-1].action is Action.ROLLBACK
    assert answers[-1].reasons[0].metric == "exceptions"
    half = Judge(both)
    slow = _run(half, [Tick(index=k, at=0.0, weight=5, arms=errors_metric(*FINE)) for k in range(60)])
    assert slow[-1].action is not Action.PROMOTE
    assert "exceptions" in slow[-1].reasons[0].text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_false_rollback_percent": 0.0}, "max_false_rollback_percent is 0"),
        ({"max_bad_promotion_percent": 80.0}, "max_bad_promotion_percent is 80"),
        ({"scrape_seconds": 0.0}, "scrape_seconds is 0"),
        ({"deadline_seconds": math.inf}, "deadline_seconds is inf"),
        ({"start_weight": 1.0}, r"start_weight is 1\.0"),
        ({"weight": -1.0}, r"metrics\[errors\].weight is -1"),
    ],
)
def test_options_that_make_no_sense_are_refused_by_name(change: Any, message: Any) -> None:
    """The message names the field and the value."""
    with pytest.raises(ConfigError, match=message):
        config(**change)


def test_metrics_need_names_of_their_own() -> None:
    """No metric and two of one name are both refused."""
    with pytest.raises(ConfigError, match="metrics is empty"):
        JudgeConfig(metrics=())
    with pytest.raises(ConfigError, match="twice"):
        JudgeConfig(metrics=(MetricConfig(name="errors"), MetricConfig(name="errors")))
