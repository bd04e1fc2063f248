"""The judge: one object that is fed one frozen tick at a time and says what the evidence allows.

It has no clock, no I/O and no randomness; the same ticks give the same answers, which is what makes a verdict
replayable. The rules that keep it honest are spelled out where they act: a catastrophe bet that never waits, a warm-up
for cold pods, silence after every weight change, no good news while the baseline is sick, a retreat while it leans bad.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

from analyzers.errors import AnalysisError, TickOrderError
from analyzers.gauge_judge import GaugeJudge
from analyzers.histogram_judge import GATE_REQUESTS, HistogramJudge
from analyzers.metric_judge import Gate, MetricJudge, MetricState, Weighed
from analyzers.options import JudgeConfig, Kind, MetricConfig, Strictness
from analyzers.ramp import Signals, next_weight
from analyzers.ratio_judge import RatioJudge
from analyzers.reasons import Reasons
from analyzers.restart_judge import RestartJudge
from analyzers.stats.combine import Conclusion, Share, conclude, leader, total_log_e
from analyzers.stats.split import ABSOLUTE_BAND, RELATIVE_BAND, SplitState, SplitTest, mirrored_share
from analyzers.ticks import Action, Answer, Assignment, Code, Reason, Tick, Verdict

STATE_VERSION: Final = 4
RETREAT_AT: Final = math.log(5.0)
"""Evidence of 5 : 1 against the canary moves it to the lowest useful weight before the verdict is in."""
LEANING: Final = 1e-6
"""More than even odds against the canary forbid good news; exactly even is no evidence at all."""
RETREAT_REQUESTS: Final = 30.0
EXPECTED_UNSEEN: Final = 20.0
COINCIDENCE_SECONDS: Final = 300.0
LEAST_RECENT_TICKS: Final = 4
DOUBTS: Final = frozenset({Code.LEANING_BAD, Code.BASELINE_SICK, Code.SPLIT_BROKEN, Code.NO_CANARY_TRAFFIC, Code.NOT_RANDOM})
"""What takes back a climb that was asked for and is not in force yet; a wait for data does not."""


class JudgeState(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that survives a restart, JSON-serialisable and versioned."""

    version: int = STATE_VERSION
    config_digest: str = ""
    first_index: int | None = None
    last_index: int | None = None
    exposed_index: int | None = None
    weight: float = 0.0
    changed_index: int | None = None
    raised_index: int | None = None
    lowered_index: int | None = None
    unseen_expected: float = 0.0
    unseen_ticks: int = 0
    seen_any: bool = False
    retreated: bool = False
    coincidences: int = 0
    in_coincidence: bool = False
    failed: bool = False
    wanted: float | None = None
    rps: float | None = None
    split: SplitState = SplitState()
    metrics: dict[str, MetricState] = msgspec.field(default_factory=dict)


class Judge:
    """`tick` is the whole interface; `state` can be stored at any time and given back to a new judge."""

    def __init__(self, config: JudgeConfig, state: JudgeState | None = None) -> None:
        s = state or JudgeState(config_digest=config.digest)
        if s.version != STATE_VERSION:
            raise AnalysisError(
                f"judge state has version {s.version}, this build reads {STATE_VERSION}: replay the evidence log instead",
                reason="StateVersion",
            )
        if s.config_digest != config.digest:
            raise AnalysisError("the judge's options changed since the state was stored: start a new analysis", reason="ConfigChanged")
        self._config = config
        self._s = s
        self._metrics = {m.name: _judge_of(config, m, s.metrics.get(m.name) or MetricState()) for m in config.metrics}
        self._split = SplitTest(state=s.split)
        self._timed = frozenset(m.name for m in config.metrics if m.kind is Kind.RESTARTS)
        if s.rps is not None:
            self._fit(s.rps)

    @property
    def config(self) -> JudgeConfig:
        return self._config

    @property
    def state(self) -> JudgeState:
        return msgspec.structs.replace(self._s, split=self._split.state, metrics={name: m.state for name, m in self._metrics.items()})

    def tick(self, tick: Tick) -> Answer:
        """Take the next frozen tick and answer. Indices must rise; those left out count as ticks without data."""
        tick = self._in_force(tick)
        self._clock(tick)
        # Skew between the arms follows every change of the weight: two scrapes belong to neither weight.
        settled = tick.settled and not self._within(self._s.changed_index, self._config.settle_scrapes)
        warm = tick.warm and self._past_warm_up(tick)
        if warm:
            self._learn_traffic()
        gate = self._gate(tick, settled=settled, warm=warm)
        for metric in self._metrics.values():
            metric.take(tick, gate)
        self._count_unseen(tick, settled=settled)
        self._watch_split(tick, settled=settled)
        found = self._conclude()
        if found.worse:
            # Ville's bound is on the highest value ever reached: a crossing is final, whatever comes later.
            self._set(failed=True)
        self._watch_both_arms(tick)
        return self._answer(tick, found, settled=settled, warm=warm)

    def _learn_traffic(self) -> None:
        """Without history the traffic of the warm-up says what can be proven at all; it is known before the first tick that counts."""
        if self._config.rps is not None or self._s.rps is not None or self._config.strictness is not Strictness.WIDEN:
            return
        requests = max((m.requests_per_tick for m in self._metrics.values()), default=0.0)
        if requests > 0:
            self._set(rps=requests / self._config.scrape_seconds)
            self._fit(requests / self._config.scrape_seconds)

    def _fit(self, rps: float) -> None:
        for metric in self._metrics.values():
            metric.fit(rps)

    def _gate(self, tick: Tick, *, settled: bool, warm: bool) -> Gate:
        """All of it known before the tick's outcomes."""
        mirrored = tick.assignment is Assignment.MIRRORED
        return Gate(
            settled=settled,
            # What ends late comes from the weight before: after a climb it is missing in the canary and too much in the baseline,
            # which hides harm and makes none, so bad news counts at once, if hushed: what the change itself costs in two scrapes
            # (a router, new connections, caches) can then not decide alone. After a step down it is the other way round.
            blamable=tick.settled and not self._within(self._s.lowered_index, self._config.settle_scrapes),
            warm=warm,
            calm=not self._config.require_calm or all(m.calm for m in self._metrics.values()),
            since_change=self._since(self._s.changed_index),
            units=tick.units,
            comparable=0 < tick.weight < 100 or (mirrored and tick.weight > 0),
            bad_news=tick.assignment is not Assignment.SELECTED,
            good_news=tick.assignment is Assignment.RANDOM,
        )

    def _conclude(self) -> Conclusion:
        return conclude(
            self._shares(),
            {n: m.proof for n, m in self._metrics.items()},
            alpha=self._config.alpha,
            beta=self._config.beta,
            least_recent_ticks=LEAST_RECENT_TICKS,
        )

    def _watch_split(self, tick: Tick, *, settled: bool) -> None:
        """Off where requests are not assigned one by one at random (header match, pods, workers): there a share proves nothing."""
        if self._config.split and tick.split is not None and tick.assignment is not Assignment.SELECTED and not tick.problems:
            share = mirrored_share(tick.weight) if tick.assignment is Assignment.MIRRORED else tick.weight / 100.0
            self._split.update(tick.split.canary, tick.split.baseline, share, settled=settled)

    def _in_force(self, tick: Tick) -> Tick:
        """The weight that was set, where a harness tells the share that was seen: it wanders around it, and no weight was changed."""
        if not math.isfinite(tick.weight):
            return msgspec.structs.replace(tick, weight=self._s.weight)
        if not 0 < tick.weight < 100:
            return tick
        near = [w for w in (*self._config.weights, self._s.weight) if w > 0 and abs(tick.weight - w) <= _wander(tick, w, self._timed)]
        return msgspec.structs.replace(tick, weight=min(near, key=lambda w: abs(tick.weight - w))) if near else tick

    def _clock(self, tick: Tick) -> None:
        s = self._s
        if s.last_index is not None and tick.index <= s.last_index:
            raise TickOrderError(f"tick {tick.index} came after tick {s.last_index}: each interval is judged once, in order")
        missed = tick.index - s.last_index - 1 if s.last_index is not None else 0
        if missed:
            for metric in self._metrics.values():
                metric.skip(missed)
        changed = tick.weight != s.weight
        raised = tick.weight > s.weight
        exposed = s.exposed_index
        if exposed is None and tick.weight > 0:
            exposed = tick.index
        self._s = msgspec.structs.replace(
            s,
            first_index=s.first_index if s.first_index is not None else tick.index,
            last_index=tick.index,
            weight=tick.weight,
            changed_index=tick.index if changed else s.changed_index,
            raised_index=tick.index if raised else s.raised_index,
            lowered_index=tick.index if changed and not raised else s.lowered_index,
            exposed_index=exposed,
        )

    def _since(self, index: int | None) -> int | None:
        last = self._s.last_index
        return None if index is None or last is None else last - index

    def _within(self, index: int | None, ticks: int) -> bool:
        since = self._since(index)
        return since is not None and since < ticks

    def _past_warm_up(self, tick: Tick) -> bool:
        since = self._since(self._s.exposed_index)
        return since is not None and since >= self._config.ticks(self._config.warm_up_seconds)

    def _count_unseen(self, tick: Tick, *, settled: bool) -> None:
        """Requests that the baseline's traffic says the canary should have had, while it had none."""
        counts = _requests(tick, self._timed)
        seen = any(canary > 0 for canary, _ in counts)
        if seen or not 0 < tick.weight < 100:
            self._set(unseen_expected=0.0, unseen_ticks=0, seen_any=self._s.seen_any or seen)
            return
        expected = max((baseline for _, baseline in counts), default=0.0) * tick.weight / (100.0 - tick.weight)
        if settled and expected > 0:
            self._set(unseen_expected=self._s.unseen_expected + expected, unseen_ticks=self._s.unseen_ticks + 1)

    def _watch_both_arms(self, tick: Tick) -> None:
        """A baseline that sickens right after the canary got more traffic: perhaps a shared lock or pool. No blame, weight 0."""
        s = self._s
        # What happened once is expected the second time: one tick of it is enough.
        sick = any(m.bad_run >= (1 if s.coincidences else 2) for m in self._metrics.values())
        soon = self._within(s.raised_index, self._config.ticks(COINCIDENCE_SECONDS) + 2)
        if sick and soon and not s.in_coincidence and tick.weight > 0:
            self._set(in_coincidence=True, coincidences=s.coincidences + 1)
        elif s.in_coincidence and s.coincidences < 2 and all(m.calm for m in self._metrics.values()):
            self._set(in_coincidence=False)

    def _shares(self) -> list[Share]:
        """Weights were fixed before the first tick and add up to 1."""
        config, shares = self._config, []
        for name, metric in self._metrics.items():
            shares.append(Share(metric=name, weight=config.metric_weight(name), log_e=metric.log_e_worse))
            disaster = metric.log_e_catastrophe
            if disaster is not None:
                shares.append(Share(metric=name, weight=config.catastrophe_weight(name), log_e=disaster))
        return shares

    def _answer(self, tick: Tick, found: Conclusion, *, settled: bool, warm: bool) -> Answer:
        say = Reasons(self._config, tick)
        action, verdict, wanted, reasons = self._weigh(say, tick, found, settled=settled, warm=warm)
        if self._config.ramp is not None:
            wanted = self._climb(tick, found, action, wanted, reasons)
            if action is Action.ADVANCE and wanted <= tick.weight:
                action = Action.HOLD
        return Answer(
            action=action,
            verdict=verdict,
            wanted_weight=wanted,
            reasons=reasons,
            metrics=tuple(m.line() for m in self._metrics.values()),
            log_e_total=found.total,
            log_e_needed=found.needed,
        )

    def _climb(self, tick: Tick, found: Conclusion, action: Action, wanted: float | None, reasons: tuple[Reason, ...]) -> float:
        """The ramp's word on the next weight."""
        ramp, s = self._config.ramp, self._s
        if ramp is None:
            return tick.weight
        since = self._since(s.changed_index)
        doubted = any(r.code in DOUBTS for r in reasons)
        asked = tick.weight if s.wanted is None else s.wanted
        pending = min(asked, tick.weight) if doubted else max(asked, tick.weight)
        free = action in {Action.ADVANCE, Action.PROMOTE} or all(r.code in {Code.BAKING, Code.RISK_BUDGET, Code.SETTLING} for r in reasons)
        wish = next_weight(
            ramp,
            Signals(
                weight=tick.weight,
                pending=pending,
                start=self._config.start_percent,
                since_change=since if since is not None else 0,
                ended=action is Action.ROLLBACK,
                stopped=s.in_coincidence,
                retreat=wanted,
                free=free,
                gates_open=self._gates_open(tick),
                proven=found.fine,
                next_risk=self._risk(tick),
                usual_failures=max(m.usual_failures for m in self._metrics.values()) * 60.0 / self._config.scrape_seconds,
            ),
        )
        self._set(wanted=wish)
        return wish

    def _gates_open(self, tick: Tick) -> bool:
        """Few requests can be slow without a question; many only after it was shown that they are not twice as slow."""
        after = self._next_weight(tick.weight)
        minutes = 60.0 / self._config.scrape_seconds
        return after is None or all(
            m.gate_open or m.requests_per_tick * minutes * after / 100.0 <= GATE_REQUESTS for m in self._metrics.values()
        )

    def _weigh(
        self, say: Reasons, tick: Tick, found: Conclusion, *, settled: bool, warm: bool
    ) -> tuple[Action, Verdict, float | None, tuple[Reason, ...]]:
        """The order of the questions: harm, then people's patience, then proof, then whatever forbids a climb."""
        s, hold, pending, total = self._s, Action.HOLD, Verdict.PENDING, found.total
        if s.failed:
            guilty = leader(self._shares())
            return Action.ROLLBACK, Verdict.FAIL, 0.0, (say.worse(guilty, total, self._metrics),)
        if s.in_coincidence:
            final = s.coincidences >= 2
            return (
                (Action.INCONCLUSIVE, Verdict.INCONCLUSIVE, 0.0, (say.both_worsened(final=True),))
                if final
                else (hold, pending, 0.0, (say.both_worsened(final=False),))
            )
        retreat = self._retreat(tick, total_log_e(s for s in self._shares() if self._metrics[s.metric].soon_told))
        waits = self._waits(say, tick, total, settled=settled, warm=warm)
        if not any(r.code is Code.DATA_PROBLEM for r in waits) and self._nothing_seen(tick):
            return hold, Verdict.NO_DATA, retreat, (say.no_canary_traffic(s.unseen_expected),)
        provable = self._config.strictness is Strictness.WIDEN or all(m.margins.provable for m in self._metrics.values())
        if not waits and found.fine and provable and self._baked(tick):
            return Action.PROMOTE, Verdict.PASS, retreat, (say.proven(self._metrics),)
        if self._past_deadline():
            return self._at_deadline(say, found.missing, retreat)
        risk = self._risk(tick)
        if not waits and self._config.risk_budget is not None and risk > self._config.risk_budget:
            waits = (say.over_budget(risk, self._config.risk_budget),)
        if all(r.code is Code.NO_WEIGHT for r in waits) and waits:
            return Action.ADVANCE, pending, None, waits
        if waits:
            return hold, pending, retreat, waits
        if found.fine:
            return Action.ADVANCE, pending, retreat, (say.baking(self._metrics) if provable else say.too_few_units(),)
        return Action.ADVANCE, pending, retreat, (say.more(found.missing, self._metrics),)

    def _waits(self, say: Reasons, tick: Tick, total: float, *, settled: bool, warm: bool) -> tuple[Reason, ...]:
        """All that forbids good news now, most important first."""
        reasons: list[Reason] = [say.problem(p) for p in tick.problems]
        if self._split.broken and self._config.split:
            reasons.append(say.split_broken(self._split.share or 0.0))
        if tick.assignment is not Assignment.RANDOM:
            reasons.append(say.not_random())
        if total > LEANING or self._s.retreated:
            reasons.append(say.leaning(total))
        if self._config.require_calm and not all(m.calm for m in self._metrics.values()):
            reasons.append(say.baseline_sick([n for n, m in self._metrics.items() if not m.calm]))
        if (tick.weight <= 0 or tick.weight >= 100) and not any(m.used_now for m in self._metrics.values()):
            reasons.append(say.no_comparison())
        elif not warm:
            reasons.append(say.warming_up())
        if not settled:
            reasons.append(say.settling())
        if not tick.problems and not any(m.used_now for m in self._metrics.values()) and settled and warm and 0 < tick.weight < 100:
            reasons.append(say.no_traffic())
        return tuple(reasons)

    def _retreat(self, tick: Tick, total: float) -> float | None:
        """The lowest weight that still brings 30 requests a scrape, from 5 : 1 against until it leans bad no more. `total` is without the
        metrics that every change of the weight silences for their lag: to retreat from those would be not to hear them.
        """
        if total >= RETREAT_AT:
            self._set(retreated=True)
        elif total < 0.0:
            self._set(retreated=False)
        if not self._s.retreated or tick.weight <= 0:
            return None
        rate = max((m.requests_per_tick for m in self._metrics.values()), default=0.0)
        weights = self._config.weights
        useful = [w for w in weights if rate * w / 100.0 >= RETREAT_REQUESTS]
        if not weights:
            useful = [min(5.0, max(0.5, 100.0 * RETREAT_REQUESTS / rate))] if rate > 0 else []
        return min(tick.weight, useful[0]) if useful else None

    def _next_weight(self, weight: float) -> float | None:
        return next((w for w in self._config.weights if w > weight), None)

    def _baked(self, tick: Tick) -> bool:
        """With a ramp: at its top, and exposed for as long as the owner wants; steps keep their own time."""
        ramp, since = self._config.ramp, self._since(self._s.exposed_index)
        if ramp is None:
            return True
        return tick.weight >= ramp.rungs[-1] and since is not None and since + 1 >= self._config.ticks(ramp.bake_seconds)

    def _risk(self, tick: Tick) -> float:
        """Failed requests that the next weight could cause in a minute, given what is not refuted yet."""
        after = self._next_weight(tick.weight)
        if after is None:
            return 0.0
        per_minute = 60.0 / self._config.scrape_seconds * after / 100.0
        return max(m.requests_per_tick * per_minute * (1.0 if (b := m.excess_upper) is None else b) for m in self._metrics.values())

    def _nothing_seen(self, tick: Tick) -> bool:
        """Two ticks of it: with many keep-alive connections one empty tick is chance."""
        s = self._s
        since = self._since(s.exposed_index)
        waited = since is not None and since >= self._config.ticks(self._config.no_data_grace_seconds)
        return waited and s.unseen_ticks >= 2 and s.unseen_expected >= EXPECTED_UNSEEN and 0 < tick.weight < 100

    def _past_deadline(self) -> bool:
        since = self._since(self._s.first_index)
        return since is not None and since >= self._config.ticks(self._config.deadline_seconds)

    def _at_deadline(
        self, say: Reasons, missing: tuple[str, ...], retreat: float | None
    ) -> tuple[Action, Verdict, float | None, tuple[Reason, ...]]:
        """Without one usable tick nothing was compared at all: that is no data, not an open question."""
        used = any(m.used for m in self._metrics.values())
        verdict = Verdict.INCONCLUSIVE if used else Verdict.NO_DATA
        return Action.INCONCLUSIVE, verdict, retreat, (say.deadline(missing, self._metrics),)

    def _set(self, **changes: object) -> None:
        self._s = msgspec.structs.replace(self._s, **changes)


def _requests(tick: Tick, timed: frozenset[str]) -> list[tuple[float, float]]:
    """What each metric counted of (canary, baseline), where the baseline was heard of; an arm without a sound count counts nothing.
    `timed` metrics count the seconds of pods.
    """
    counted = (c for name, c in tick.arms.items() if name not in timed)
    pairs = [(c.canary.requests if c.canary else 0, c.baseline.requests) for c in counted if c.baseline]
    pairs += [(sum(c.canary) if c.canary else 0, sum(c.baseline)) for c in tick.buckets.values() if c.baseline]
    return [(_sound(c), _sound(b)) for c, b in pairs]


def _sound(count: float) -> float:
    return float(count) if math.isfinite(count) and count > 0 else 0.0


def _wander(tick: Tick, weight: float, timed: frozenset[str]) -> float:
    """How far the seen share of a tick may lie from the weight that was set: the split's own band, and three standard errors."""
    requests = max([1.0, *(c + b for c, b in _requests(tick, timed))])
    error = math.sqrt(weight * max(0.0, 100.0 - weight) / requests)
    return max(RELATIVE_BAND * weight, 100.0 * ABSOLUTE_BAND) + 3.0 * error


def _judge_of(config: JudgeConfig, metric: MetricConfig, state: MetricState) -> MetricJudge[Weighed]:
    match metric.kind:
        case Kind.RATIO:
            return RatioJudge(config, metric, state)
        case Kind.HISTOGRAM:
            return HistogramJudge(config, metric, state)
        case Kind.GAUGE:
            return GaugeJudge(config, metric, state)
        case Kind.RESTARTS:
            return RestartJudge(config, metric, state)
