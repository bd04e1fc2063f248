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
from analyzers.metric_judge import MetricJudge, MetricState
from analyzers.options import CATASTROPHE_WEIGHT, JudgeConfig
from analyzers.reasons import Reasons
from analyzers.stats.combine import Share, leader, total_log_e, unproven
from analyzers.ticks import Action, Answer, Code, Reason, Tick, Verdict

STATE_VERSION: Final = 1
RETREAT_AT: Final = math.log(5.0)
"""Evidence of 5 : 1 against the canary moves it to the lowest useful weight before the verdict is in."""
LEANING: Final = 1e-6
"""More than even odds against the canary forbid good news; exactly even is no evidence at all."""
RETREAT_REQUESTS: Final = 30.0
EXPECTED_UNSEEN: Final = 20.0
COINCIDENCE_SECONDS: Final = 300.0
LEAST_RECENT_TICKS: Final = 4


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
    unseen_expected: float = 0.0
    unseen_ticks: int = 0
    seen_any: bool = False
    retreated: bool = False
    coincidences: int = 0
    in_coincidence: bool = False
    failed: bool = False
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
        self._metrics = {m.name: MetricJudge(config, m, s.metrics.get(m.name)) for m in config.metrics}

    @property
    def config(self) -> JudgeConfig:
        return self._config

    @property
    def state(self) -> JudgeState:
        return msgspec.structs.replace(self._s, metrics={name: m.state for name, m in self._metrics.items()})

    def tick(self, tick: Tick) -> Answer:
        """Take the next frozen tick and answer. Indices must rise; those left out count as ticks without data."""
        self._clock(tick)
        # Skew between the arms follows every change of the weight: two scrapes belong to neither weight.
        settled = tick.settled and not self._within(self._s.changed_index, self._config.settle_scrapes)
        warm = tick.warm and self._past_warm_up(tick)
        calm = not self._config.require_calm or all(m.calm for m in self._metrics.values())
        for metric in self._metrics.values():
            metric.take(tick, settled=settled, warm=warm, calm=calm, since_change=self._since(self._s.changed_index))
        self._count_unseen(tick, settled=settled)
        shares = self._shares()
        total = total_log_e(shares)
        need = math.log(1.0 / self._config.alpha)
        if total >= need:
            # Ville's bound is on the highest value ever reached: a crossing is final, whatever comes later.
            self._set(failed=True)
        self._watch_both_arms(tick)
        return self._answer(tick, shares, total, need, settled=settled, warm=warm)

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
        counts = [c for c in tick.arms.values() if c.baseline is not None]
        seen = any(c.canary is not None and c.canary.requests > 0 for c in counts)
        if seen or not 0 < tick.weight < 100:
            self._set(unseen_expected=0.0, unseen_ticks=0, seen_any=self._s.seen_any or seen)
            return
        expected = max((c.baseline.requests for c in counts if c.baseline is not None), default=0) * tick.weight / (100.0 - tick.weight)
        if settled and expected > 0:
            self._set(unseen_expected=self._s.unseen_expected + expected, unseen_ticks=self._s.unseen_ticks + 1)

    def _watch_both_arms(self, tick: Tick) -> None:
        """A baseline that sickens right after the canary got more traffic: perhaps a shared lock or pool. No blame, weight 0."""
        s = self._s
        sick = any(m.bad_run >= 2 for m in self._metrics.values())
        soon = self._within(s.raised_index, self._config.ticks(COINCIDENCE_SECONDS) + 2)
        if sick and soon and not s.in_coincidence and tick.weight > 0:
            self._set(in_coincidence=True, coincidences=s.coincidences + 1)
        elif s.in_coincidence and s.coincidences < 2 and all(m.calm for m in self._metrics.values()):
            self._set(in_coincidence=False)

    def _shares(self) -> list[Share]:
        """Weights were fixed before the first tick and add up to 1."""
        config, shares = self._config, []
        for name, metric in self._metrics.items():
            weight, evidence = config.metric_weight(name), metric.evidence
            disaster = CATASTROPHE_WEIGHT * weight / (1.0 - CATASTROPHE_WEIGHT)
            shares.append(Share(metric=name, weight=weight, log_e=evidence.log_e_worse))
            shares.append(Share(metric=name, weight=disaster, log_e=evidence.log_e_catastrophe))
        return shares

    def _answer(self, tick: Tick, shares: list[Share], total: float, need: float, *, settled: bool, warm: bool) -> Answer:
        say = Reasons(self._config, tick)
        action, verdict, wanted, reasons = self._weigh(say, tick, shares, total, settled=settled, warm=warm)
        return Answer(
            action=action,
            verdict=verdict,
            wanted_weight=wanted,
            reasons=reasons,
            metrics=tuple(m.line() for m in self._metrics.values()),
            log_e_total=total,
            log_e_needed=need,
        )

    def _weigh(
        self, say: Reasons, tick: Tick, shares: list[Share], total: float, *, settled: bool, warm: bool
    ) -> tuple[Action, Verdict, float | None, tuple[Reason, ...]]:
        """The order of the questions: harm, then people's patience, then proof, then whatever forbids a climb."""
        s, hold, pending = self._s, Action.HOLD, Verdict.PENDING
        if s.failed:
            guilty = leader(shares)
            return Action.ROLLBACK, Verdict.FAIL, 0.0, (say.worse(guilty, total, self._metrics),)
        if s.in_coincidence:
            final = s.coincidences >= 2
            return (
                (Action.INCONCLUSIVE, Verdict.INCONCLUSIVE, 0.0, (say.both_worsened(final=True),))
                if final
                else (hold, pending, 0.0, (say.both_worsened(final=False),))
            )
        retreat = self._retreat(tick, total)
        waits = self._waits(say, tick, total, settled=settled, warm=warm)
        if not any(r.code is Code.DATA_PROBLEM for r in waits) and self._nothing_seen(tick):
            return hold, Verdict.NO_DATA, retreat, (say.no_canary_traffic(s.unseen_expected),)
        missing = unproven({n: m.proof for n, m in self._metrics.items()}, beta=self._config.beta, least_recent_ticks=LEAST_RECENT_TICKS)
        if not waits and not missing:
            return Action.PROMOTE, Verdict.PASS, retreat, (say.proven(),)
        if self._past_deadline():
            return self._at_deadline(say, missing, retreat)
        risk = self._risk(tick)
        if not waits and self._config.risk_budget is not None and risk > self._config.risk_budget:
            waits = (say.over_budget(risk, self._config.risk_budget),)
        if all(r.code is Code.NO_WEIGHT for r in waits) and waits:
            return Action.ADVANCE, pending, None, waits
        if waits:
            return hold, pending, retreat, waits
        return Action.ADVANCE, pending, retreat, (say.more(missing, self._metrics),)

    def _waits(self, say: Reasons, tick: Tick, total: float, *, settled: bool, warm: bool) -> tuple[Reason, ...]:
        """All that forbids good news now, most important first."""
        reasons: list[Reason] = [say.problem(p) for p in tick.problems]
        if total > LEANING or self._s.retreated:
            reasons.append(say.leaning(total))
        if self._config.require_calm and not all(m.calm for m in self._metrics.values()):
            reasons.append(say.baseline_sick([n for n, m in self._metrics.items() if not m.calm]))
        if tick.weight <= 0 or tick.weight >= 100:
            reasons.append(say.no_comparison())
        elif not warm:
            reasons.append(say.warming_up())
        if not settled:
            reasons.append(say.settling())
        if not tick.problems and not any(m.used_now for m in self._metrics.values()) and settled and warm and 0 < tick.weight < 100:
            reasons.append(say.no_traffic())
        return tuple(reasons)

    def _retreat(self, tick: Tick, total: float) -> float | None:
        """The lowest weight that still brings 30 requests a scrape, from 5 : 1 against until it leans bad no more."""
        if total >= RETREAT_AT:
            self._set(retreated=True)
        elif total < 0.0:
            self._set(retreated=False)
        if not self._s.retreated or tick.weight <= 0:
            return None
        rate = max((m.requests_per_tick for m in self._metrics.values()), default=0.0)
        useful = [w for w in sorted(self._config.ladder) if rate * w / 100.0 >= RETREAT_REQUESTS]
        if not self._config.ladder:
            useful = [min(5.0, max(0.5, 100.0 * RETREAT_REQUESTS / rate))] if rate > 0 else []
        return min(tick.weight, useful[0]) if useful else None

    def _risk(self, tick: Tick) -> float:
        """Failed requests that the next weight could cause in a minute, given what is not refuted yet."""
        next_weight = min((w for w in self._config.ladder if w > tick.weight), default=None)
        if next_weight is None:
            return 0.0
        per_minute = 60.0 / self._config.scrape_seconds * next_weight / 100.0
        bounds = {n: m.evidence.excess_upper for n, m in self._metrics.items()}
        return max(m.requests_per_tick * per_minute * (1.0 if (b := bounds[n]) is None else b) for n, m in self._metrics.items())

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
        used = any(m.evidence.used for m in self._metrics.values())
        verdict = Verdict.INCONCLUSIVE if used else Verdict.NO_DATA
        return Action.INCONCLUSIVE, verdict, retreat, (say.deadline(missing, self._metrics),)

    def _set(self, **changes: object) -> None:
        self._s = msgspec.structs.replace(self._s, **changes)
