"""Acceptance tests of the rules that others lack: each with a twin in which the rule is missing and the harm is seen.

Pods that differ for good, outcomes that come late, newborn series, a lock on something shared, no control at all, and a share of the
traffic that is only roughly what was set. Runs are fewer than where they were first derived; bounds are scaled.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec
import numpy as np
import pytest

from analyzers.account import account, lines
from analyzers.evidence import Log, Trial
from analyzers.history import History, before, learn
from analyzers.judge import Judge
from analyzers.options import JudgeConfig, MetricConfig, RampConfig, conversion, latency
from analyzers.ticks import Action, Answer, ArmCounts, Assignment, BucketCounts, Code, MetricCounts, SplitCounts, Tick, Verdict
from bench.judge_policies import Linnet, configured, tick_of
from bench.judge_world import EDGES, Run, Service, always, past
from tests.unit.analyzers.world import SEED, config, tick


def _ended(judge: Judge, ticks: int, draw: Callable[[int], Tick]) -> Answer:
    answer = None
    for k in range(ticks):
        answer = judge.tick(draw(k))
        if answer.action is Action.ROLLBACK:
            break
    assert answer is not None
    return answer


# T2, T3: the split


def _aa_split(rps: float, rng: np.random.Generator, *, share: float = 1.0, late: bool = False, delay: bool = False) -> list[Answer]:
    """A/A under a split test: weights 5, 20 and 50, the canary late by a scrape, or 5 s of the old split after each change."""
    judge, answers, kept = Judge(config(split=True)), [], (0, 0)
    for k in range(36):
        weight, first = (5.0, 20.0, 50.0)[k // 12], k % 12 == 0
        mixed = (2 * weight + (5.0, 5.0, 20.0)[k // 12]) / 3 if delay and first else weight
        total = rps * 15.0
        n_c, n_b = int(rng.poisson(total * mixed * share / 100)), int(rng.poisson(total * (1 - mixed * share / 100)))
        shown, kept = (kept, (n_c, 0)) if late else ((n_c, 0), kept)
        answers.append(judge.tick(tick(k, weight, shown, (n_b, 0), split=SplitCounts(shown[0], n_b))))
    return answers


def _alarms(answers: list[Answer]) -> bool:
    return any(r.code is Code.SPLIT_BROKEN for a in answers for r in a.reasons)


@pytest.mark.parametrize("rps", [100.0, 1000.0])
def test_a_canary_seen_one_scrape_late_breaks_no_split(rps: Any) -> None:
    """T2: two scrapes after each change belong to neither weight, so a lag of one raises no alarm."""
    rng = np.random.default_rng(SEED)
    assert not any(_alarms(_aa_split(rps, rng, late=True)) for _ in range(40))


def test_five_seconds_of_routing_delay_break_no_split() -> None:
    """T3: at 1000 rps the old split lives on for 5 s after each change."""
    rng = np.random.default_rng(SEED)
    assert not any(_alarms(_aa_split(1000.0, rng, delay=True)) for _ in range(40))


def test_a_split_that_is_not_what_was_set_holds_and_says_so() -> None:
    """Half as much again as the weight: a hold with both figures, never a verdict."""
    answers = _aa_split(1000.0, np.random.default_rng(SEED), share=1.5)
    assert _alarms(answers)
    assert answers[-1].action is Action.HOLD
    assert answers[-1].verdict is Verdict.PENDING
    broken = next(r for a in answers for r in a.reasons if r.code is Code.SPLIT_BROKEN)
    assert broken.numbers["share_percent"] == pytest.approx(1.5 * broken.numbers["weight"], rel=0.1)


def test_where_requests_are_not_assigned_at_random_the_split_is_not_judged() -> None:
    """A header match gives whatever share its senders have."""
    judge = Judge(config(split=True))
    for k in range(12):
        answer = judge.tick(tick(k, 5, (5000, 5), (9000, 9), split=SplitCounts(5000, 9000), assignment=Assignment.SELECTED))
        assert not any(r.code is Code.SPLIT_BROKEN for r in answer.reasons)


# T6: pods that differ for good


@cache
def _learnt() -> JudgeConfig:
    """Two hours of pods that differ, once for all runs."""
    history = past(Service(pod_sd=0.15), np.random.default_rng(SEED)).buckets
    return learn(JudgeConfig(metrics=(latency("latency", EDGES),), ladder=(5.0,)), {"latency": History(buckets=history)})


def _pods(tau: float | None, run: int) -> Answer:
    """A/A at 5 % on one of 20 pods, whose log latencies differ by sd 0.15."""
    rng, service, options = np.random.default_rng([SEED, run]), Service(pod_sd=0.15, canary_pods=1), _learnt()
    if tau is not None:
        options = msgspec.structs.replace(options, metrics=(msgspec.structs.replace(options.metrics[0], tau=tau),))
    world = Run(service, rng)

    def draw(k: int) -> Tick:
        seen = world.observe(5.0)
        assert seen.canary
        assert seen.baseline
        arms = BucketCounts(*(tuple(int(x) for x in arm.buckets) for arm in (seen.canary, seen.baseline)))
        return Tick(index=k, at=k * 15.0, weight=5.0, arms={}, buckets={"latency": arms}, units=(1, 20))

    return _ended(Judge(options), 60, draw)


def test_a_slow_node_under_one_canary_pod_is_not_held_against_the_release() -> None:
    """T6: history shows how much pods differ, and that much is tolerated."""
    assert sum(_pods(None, r).action is Action.ROLLBACK for r in range(30)) <= 1


def test_without_the_rule_of_few_pods_a_slow_node_rolls_back_good_releases() -> None:
    """The twin: as if pods were all alike."""
    assert sum(_pods(0.0, r).action is Action.ROLLBACK for r in range(30)) >= 4


# T7, T8: outcomes that come late, of which fewer are worse


def _orders(factor: float, options: MetricConfig, run: int, *, ramp: bool, lag: float) -> Answer:
    rng = np.random.default_rng([SEED, run])
    world = Run(Service(conversion=0.03, conversion_lag=lag, conversion_factor=factor, drift=0.0), rng)
    judge = Judge(JudgeConfig(metrics=(options,), ladder=(5.0, 10.0, 20.0, 30.0, 40.0, 50.0), scrape_seconds=15.0, deadline_seconds=7200.0))

    def draw(k: int) -> Tick:
        weight = (5.0, 10.0, 20.0, 30.0, 40.0, 50.0)[min(5, k // 20)] if ramp else 50.0
        seen = world.observe(weight)
        assert seen.canary
        assert seen.baseline
        arms = MetricCounts(*(ArmCounts(a.requests, a.converted) for a in (seen.canary, seen.baseline)))
        return Tick(index=k, at=k * 15.0, weight=weight, arms={"orders": arms})

    return _ended(judge, 200 if ramp else 120, draw)


def test_orders_that_come_minutes_later_do_not_convict_a_climbing_canary() -> None:
    """T7: mean lag 5 min, steps of 5 min; ticks within 12 min of a change are left out, and later ones are used."""
    answers = [_orders(1.0, conversion("orders", lag=720.0), r, ramp=True, lag=20.0) for r in range(15)]
    assert not any(a.action is Action.ROLLBACK for a in answers)
    assert all(a.metrics[0].ticks_used > 20 for a in answers)


def test_without_the_lag_every_climb_looks_like_lost_orders() -> None:
    """The twin: lag 0."""
    assert sum(_orders(1.0, conversion("orders", lag=0.0), r, ramp=True, lag=20.0).action is Action.ROLLBACK for r in range(10)) >= 9


def test_lost_orders_are_found_with_business_margins() -> None:
    """T8: a loss of 30 % at a steady 50 %, within 30 minutes."""
    answers = [_orders(0.7, conversion("orders"), r, ramp=False, lag=20.0) for r in range(20)]
    assert sum(a.action is Action.ROLLBACK for a in answers) >= 19
    assert answers[0].reasons[0].metric == "orders"


# T12: something shared


def _lock(run: int) -> tuple[Linnet, list[tuple[float, Answer]]]:
    rng = np.random.default_rng([SEED, run])
    service = Service(lock=0.2)
    policy = Linnet(configured(service, past(service, rng)), (2, 20))
    world, trail = Run(service, rng), []
    for _ in range(160):
        seen = world.observe(policy.weight)
        over = policy.take(seen)
        assert policy.answer
        trail.append((seen.weight, policy.answer))
        if over:
            break
    return policy, trail


def test_a_canary_that_hurts_both_arms_is_taken_off_and_never_passed() -> None:
    """T12: errors of both arms rise with its weight: weight 0 within a minute of leaving calm, and the second time for good."""
    for run in range(6):
        _, trail = _lock(run)
        assert all(a.verdict is not Verdict.PASS for _, a in trail)
        assert trail[-1][1].verdict is Verdict.INCONCLUSIVE
        assert trail[-1][1].code in {Code.BOTH_WORSENED, Code.DEADLINE}
        zero = next(i for i, (_, a) in enumerate(trail) if a.wanted_weight == 0.0)
        left_calm = max(i for i, (_, a) in enumerate(trail[:zero]) if a.metrics[0].calm) + 1
        assert zero - left_calm <= 4


# T13: no control


def _blue_green(run: int, *, widened: bool) -> Answer:
    """0 to 100 %: log of the error rate walks by sd 0.2 in five minutes, and the release changes nothing."""
    rng = np.random.default_rng([SEED, run])
    rate = 0.01 * np.exp(np.repeat(np.cumsum(rng.normal(0, 0.2, 16)), 20))
    requests = rng.poisson(15_000, 320)
    errors = rng.binomial(requests, rate)
    metric = before(MetricConfig(name="errors", history_phi=1.0), errors[:300], requests[:300], window=20)
    if not widened:
        metric = msgspec.structs.replace(metric, before_ratio=1.1)
    judge = Judge(JudgeConfig(metrics=(metric,), warm_up_seconds=15.0))
    judge.tick(Tick(index=0, at=0.0, weight=0.0, arms={}))

    def draw(k: int) -> Tick:
        return tick(k + 1, 100.0, (int(requests[300 + k]), int(errors[300 + k])), None)

    return _ended(judge, 20, draw)


def test_a_switch_is_compared_with_the_time_before_as_far_as_that_swings() -> None:
    """T13: the margin is as wide as ten earlier windows differ."""
    answers = [_blue_green(r, widened=True) for r in range(100)]
    assert sum(a.action is Action.ROLLBACK for a in answers) <= 2
    assert all(a.metrics[0].ticks_used >= 12 for a in answers if a.action is not Action.ROLLBACK)


def test_a_switch_judged_by_a_margin_for_concurrent_arms_blames_the_weather() -> None:
    """The twin: 1.1 as if a control ran beside it."""
    assert sum(_blue_green(r, widened=False).action is Action.ROLLBACK for r in range(100)) >= 5


def test_a_switch_that_breaks_is_seen_without_a_control() -> None:
    """Ten times the errors of the time before."""
    metric = before(MetricConfig(name="errors"), np.full(300, 15), np.full(300, 1500), window=20)
    judge = Judge(JudgeConfig(metrics=(metric,)))
    judge.tick(Tick(index=0, at=0.0, weight=0.0, arms={}))
    assert _ended(judge, 20, lambda k: tick(k + 1, 100.0, (1500, 150), None)).action is Action.ROLLBACK


# Rule 10: requests that did not come by chance


def test_selected_requests_convict_an_outage_and_prove_nothing() -> None:
    """A header match: no good news, no ordinary bad news, but everything failing is seen."""
    calm, broken = Judge(config()), Judge(config())
    good = [calm.tick(tick(k, 5, (750, 1), (14_250, 14), assignment=Assignment.SELECTED)) for k in range(40)][-1]
    assert good.action is Action.HOLD
    assert good.metrics[0].log_e_fine == pytest.approx(0.0)
    assert good.metrics[0].ticks_used == 0
    assert any(r.code is Code.NOT_RANDOM for r in good.reasons)
    answer = _ended(broken, 10, lambda k: tick(k, 5, (750, 700), (14_250, 14), assignment=Assignment.SELECTED))
    assert answer.action is Action.ROLLBACK


def test_mirrored_requests_convict_and_promote_nothing() -> None:
    """Copies: bad news count as ever, good ones never do."""
    judge = Judge(config())
    good = [judge.tick(tick(k, 50, (7500, 7), (15_000, 15), assignment=Assignment.MIRRORED)) for k in range(40)][-1]
    assert good.action is Action.HOLD
    assert good.metrics[0].log_e_fine == pytest.approx(0.0)
    bad = _ended(Judge(config()), 40, lambda k: tick(k, 50, (7500, 150), (15_000, 15), assignment=Assignment.MIRRORED))
    assert bad.action is Action.ROLLBACK


# Rule 3: what so few pods can prove


@pytest.mark.parametrize(("strictness", "promoted"), [("Widen", True), ("Hold", False)])
def test_one_pod_of_three_gets_an_answer_with_the_bound_it_allows(strictness: Any, promoted: Any) -> None:
    """With pods that differ by 10 % one canary pod cannot prove 25 %: promoted against the wider bound it can, or held, as chosen."""
    from analyzers.options import Strictness

    rng = np.random.default_rng(SEED)
    service = Service(pods=3, canary_pods=1, rps=200.0)
    options = JudgeConfig(metrics=(latency("latency", EDGES),), ladder=(25.0,), strictness=Strictness(strictness), deadline_seconds=1e6)
    world = Run(service, rng)

    def draw(k: int) -> Tick:
        seen = world.observe(25.0)
        arms = BucketCounts(*(tuple(int(x) for x in arm.buckets) for arm in (seen.canary, seen.baseline) if arm))
        return Tick(index=k, at=k * 15.0, weight=25.0, arms={}, buckets={"latency": arms}, units=(1, 3))

    judge, answer = Judge(options), None
    for k in range(40):
        answer = judge.tick(draw(k))
    assert answer is not None
    assert (answer.action is Action.PROMOTE) is promoted
    if promoted:
        assert answer.metrics[0].bound == "at most 63 % slower"
        assert answer.reasons[0].text.endswith("(95 % sure); few pods: bound widened to 63 % slower (latency)")
    else:
        assert not answer.metrics[0].widened
        assert any(r.code is Code.TOO_FEW_UNITS for r in answer.reasons)


def _fewer_orders(part: float, units: tuple[int, int] | None, **options: Any) -> tuple[Log, Answer]:
    """Half of the traffic to as many pods as given: errors as ever, and `part` of the orders of the baseline; until it is promoted."""
    metrics = (MetricConfig(name="errors"), conversion("orders", lag=0.0))
    trial = Trial.begin(JudgeConfig(metrics=metrics, deadline_seconds=1e6, warm_up_seconds=0.0, **options))
    for k in range(400):
        orders = MetricCounts(ArmCounts(1500, round(120 * part)), ArmCounts(1500, 120))
        arms = {"errors": MetricCounts(ArmCounts(1500, 2), ArmCounts(1500, 2)), "orders": orders}
        answer = trial.tick(Tick(index=k, at=k * 15.0, weight=50.0, arms=arms, units=units))
        if answer.action in {Action.PROMOTE, Action.ROLLBACK}:
            break
    assert trial.answer is not None
    return trial.log.stored(), trial.answer


def test_a_bound_that_few_pods_widened_is_said() -> None:
    """One pod a version: 30 % fewer orders pass a bound of 10 % that became 43 %, and no word of it may call that the owner's bound."""
    log, answer = _fewer_orders(0.7, (1, 1))
    assert answer.action is Action.PROMOTE
    assert answer.reasons[0].text == "every metric is within its bound (95 % sure); few pods: bound widened to 43 % fewer (orders)"
    assert [m.widened for m in answer.metrics] == ["", "43 % fewer"]
    assert "; few pods: bound widened to 43 % fewer; " in lines(account(log))[1]
    assert "few pods" not in lines(account(log))[0]


def test_a_bound_that_pods_suffice_for_is_the_owner_s() -> None:
    """Enough pods, pods that nobody counted, and an absolute part that holds by itself: the sentence stays as it was."""
    for units in ((400, 400), None):
        _, answer = _fewer_orders(1.0, units)
        assert answer.reasons[0].text == "every metric is within its bound (95 % sure)"
        assert not any(m.widened for m in answer.metrics)


def test_a_widened_factor_of_errors_is_said_unless_their_absolute_part_holds() -> None:
    """5 % of errors on both: nothing shows that the canary stays within 0.3 pp, so 1.69x is what it was promoted against."""
    judge = Judge(config())
    answers = [judge.tick(tick(k, 50, (1500, 75), (1500, 75), units=(1, 4))) for k in range(60)]
    first = next(a for a in answers if a.action is Action.PROMOTE)
    assert first.metrics[0].widened == "1.69x+0.3pp"
    assert first.reasons[0].text.endswith("few pods: bound widened to 1.69x+0.3pp (errors)")


# The adaptive ramp


def _released(service: Service, run: int = 0, **ramp: Any) -> tuple[str, list[float], Linnet]:
    rng = np.random.default_rng([SEED, run])
    base = configured(service, past(service, rng))
    policy = Linnet(msgspec.structs.replace(base, ramp=RampConfig(**ramp)), (service.canary_pods, service.pods))
    world, weights, outcome = Run(service, rng), [], ""
    for _ in range(200):
        weights.append(policy.weight)
        outcome = policy.take(world.observe(policy.weight))
        if outcome:
            break
    return outcome, weights, policy


def test_a_good_release_climbs_by_evidence_and_bakes_before_it_is_promoted() -> None:
    """100 rps: warm-up at 1 %, half of the traffic within five minutes, promoted at the end of the bake."""
    halves = []
    for run in range(6):
        outcome, weights, _ = _released(Service(), run)
        assert outcome == "promote"
        assert weights[:4] == [1.0] * 4
        assert weights == sorted(weights)
        assert 60 <= len(weights) <= 70
        halves.append(weights.index(50.0))
    assert np.mean(halves) <= 20


def test_without_the_bake_a_good_release_is_promoted_on_proof() -> None:
    """Within eight minutes, at the top weight."""
    outcome, weights, _ = _released(Service(), bake_seconds=0.0)
    assert outcome == "promote"
    assert len(weights) <= 32
    assert weights[-1] == 50.0


def test_a_ramp_does_not_climb_into_a_known_risk() -> None:
    """A budget of next to nothing: each rung waits until its worst is ruled out, or the bound that the owner promotes at is proven."""
    _, careful, _ = _released(Service(), budget=0.5, budget_of_usual=0.0)
    _, bold, _ = _released(Service(), budget=1e9)
    assert 50.0 in bold
    assert 50.0 not in careful[: bold.index(50.0) + 20]


def test_a_bad_release_stays_small_and_goes() -> None:
    """+3 pp: rolled back, and never given more than 15 %."""
    outcome, weights, policy = _released(Service(more_errors=always(0.03)))
    assert outcome == "rollback"
    assert max(weights) <= 15.0
    assert policy.answer
    assert policy.answer.wanted_weight == 0.0


def test_a_log_of_a_whole_release_replays_to_the_same_answers() -> None:
    """All kinds of metric, the split and the pods go through the stored evidence, folded or not."""
    from analyzers.evidence import EvidenceLog, replay

    rng = np.random.default_rng(SEED)
    service = Service()
    options = configured(service, past(service, rng))
    judge, log, world, weight = Judge(options), EvidenceLog(options, limit=60_000), Run(service, rng), options.start_percent
    answer = None
    for _ in range(50):
        one = tick_of(world.observe(weight), (2, 20))
        answer = judge.tick(one)
        log.append(one, answer)
        assert answer.wanted_weight is not None
        weight = answer.wanted_weight
    assert replay(log.pack()) == answer
    assert EvidenceLog.unpack(log.pack()).judge().state == judge.state


def test_the_state_of_each_test_is_small_and_survives_json() -> None:
    """At most 16 KB a test, after an hour of ticks, and a restart changes no answer."""
    from analyzers.judge import JudgeState

    rng = np.random.default_rng(SEED)
    service = Service(conversion=0.03)
    options = configured(service, past(service, rng))
    judge, world, weight = Judge(options), Run(service, rng), options.start_percent
    for k in range(200):
        one = tick_of(world.observe(weight), (2, 20))
        again = Judge(options, msgspec.json.decode(msgspec.json.encode(judge.state), type=JudgeState)) if k % 20 == 0 else None
        answer = judge.tick(one)
        assert again is None or again.tick(one) == answer
        weight = answer.wanted_weight or weight
    for state in judge.state.metrics.values():
        for part in (state.ratio, state.histogram, state.gauge):
            assert len(msgspec.json.encode(part)) <= 16 * 1024


def test_the_two_error_rates_are_not_confused() -> None:
    """100 : 1 to roll back at 1 %, 20 : 1 to promote at 5 %, each from its own field."""
    odd = config(max_false_rollback_percent=2.0, max_bad_promotion_percent=10.0)
    assert (odd.alpha, odd.beta) == (0.02, 0.1)
    judge = Judge(odd)
    answers = [judge.tick(tick(k, 5, (750, 1), (14_250, 14))) for k in range(40)]
    assert answers[-1].log_e_needed == pytest.approx(np.log(50.0))
    first = next(a for a in answers if a.action is Action.PROMOTE)
    assert np.log(10.0) <= first.metrics[0].log_e_fine < np.log(20.0)


# What an outside harness does


def _carried(service: Service, *, lag: int = 0, share: bool = False) -> tuple[Answer, list[float]]:
    """A ramp whose weights come into force `lag` ticks late, or that is told the seen share in place of the weight."""
    rng = np.random.default_rng(SEED)
    judge = Judge(configured(service, past(service, rng)))
    world, weights, answer = Run(service, rng), [judge.config.start_percent] * (lag + 1), None
    for _ in range(240):
        seen = world.observe(weights[-1 - lag])
        one = tick_of(seen, (2, service.pods))
        if share and seen.canary and seen.baseline:
            requests = seen.canary.requests, seen.baseline.requests
            one = msgspec.structs.replace(one, weight=100.0 * requests[0] / sum(requests))
        answer = judge.tick(one)
        if answer.action in {Action.PROMOTE, Action.ROLLBACK, Action.INCONCLUSIVE}:
            break
        assert answer.wanted_weight is not None
        weights.append(answer.wanted_weight)
    assert answer is not None
    return answer, weights


@pytest.mark.parametrize("lag", [1, 2, 4])
def test_a_climb_that_is_not_in_force_yet_is_not_taken_back(lag: Any) -> None:
    """At 0.7 rps most ticks say nothing: a wish for more stands until it is in force or something speaks against it."""
    answer, weights = _carried(Service(rps=0.7, pods=3), lag=lag)
    assert weights == sorted(weights)
    assert answer.action is Action.PROMOTE


def test_a_seen_share_is_not_a_change_of_weight() -> None:
    """4.8 and 5.3 percent are the 5 that were set: nothing settles anew, and the ramp reaches its top."""
    answer, weights = _carried(Service(), share=True)
    assert answer.action is Action.PROMOTE
    assert weights[-1] == 50.0
