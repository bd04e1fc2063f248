"""What the owner fixes before the first tick: the judge's options, frozen and hashed, because changing any of them with
the data in sight would void the guarantee that the numbers stand for.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from enum import StrEnum
from typing import Final

import msgspec

from analyzers.errors import ConfigError
from analyzers.stats.gauge import GaugeOptions
from analyzers.stats.histogram import HistogramOptions
from analyzers.stats.ratio import TOLERATED, UNACCEPTABLE, Margin, RatioOptions
from analyzers.stats.units import DEFAULT_TAU

CATASTROPHE_WEIGHT = 0.1
"""Part of the risk budget for "this is an outage", which stays live while everything else has to wait."""


STANDARD_SCRAPE: Final = 15.0
"""Seconds; the caps are said for ticks of this length."""
START_REQUESTS: Final = 15.0
"""Canary requests a scrape in the warm-up: three of them stop an outage."""


class Kind(StrEnum):
    RATIO = "Ratio"
    HISTOGRAM = "Histogram"
    GAUGE = "Gauge"
    RESTARTS = "Restarts"


class Worse(StrEnum):
    """Which direction is bad news."""

    HIGHER = "Higher"
    LOWER = "Lower"


class Strictness(StrEnum):
    """What to do when so few pods cannot prove the declared bound."""

    WIDEN = "Widen"  # promote against the bound that they can prove, and say it
    HOLD = "Hold"


class MetricConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One judged metric. `lag` is how long after an exposure its outcome is known (seconds, q95).

    Margins of histograms and gauges use the ratio alone (1.05 is 5 % slower). `edges` are a histogram's finite bucket bounds. The rest
    comes from the hours before the rollout where a source has them (`analyzers.history.learn`); without, dispersion, usual rate and
    shape are learnt from the rollout's own earlier ticks, and pods are taken to differ by 10 %.
    """

    name: str
    kind: Kind = Kind.RATIO
    worse: Worse = Worse.HIGHER
    weight: float = 1.0
    tolerated: Margin = TOLERATED
    unacceptable: Margin = UNACCEPTABLE
    lag: float = 0.0
    min_phi: float = 1.0
    edges: tuple[float, ...] = ()
    history_phi: float | None = None
    usual_rate: float | None = None
    tau: float = DEFAULT_TAU
    shape: tuple[float, ...] = ()
    shape_phi: tuple[float, ...] = ()
    unit_variance: float | None = None
    before: tuple[tuple[int, int], ...] = ()
    before_ratio: float | None = None


def latency(name: str, edges: tuple[float, ...], *, tolerated: float = 0.05, unacceptable: float = 0.25, lag: float = 0.0) -> MetricConfig:
    """A histogram that must not move right; margins as shares (0.05 is 5 % slower)."""
    return MetricConfig(
        name=name,
        kind=Kind.HISTOGRAM,
        weight=0.875,
        edges=edges,
        lag=lag,
        tolerated=Margin(ratio=1.0 + tolerated, slack=0.0),
        unacceptable=Margin(ratio=1.0 + unacceptable, slack=0.0),
    )


def usage(name: str, *, tolerated: float = 0.10, unacceptable: float = 0.25) -> MetricConfig:
    """A gauge that must not grow, such as CPU seconds per request; margins as shares."""
    return MetricConfig(
        name=name,
        kind=Kind.GAUGE,
        weight=0.375,
        tolerated=Margin(ratio=1.0 + tolerated, slack=0.0),
        unacceptable=Margin(ratio=1.0 + unacceptable, slack=0.0),
    )


def conversion(name: str, *, lag: float = 300.0, tolerated: float = 0.05, unacceptable: float = 0.10) -> MetricConfig:
    """A share of requests with a wanted outcome, late to come, of which fewer are worse."""
    return MetricConfig(
        name=name,
        worse=Worse.LOWER,
        lag=lag,
        tolerated=Margin(ratio=1.0 + tolerated, slack=0.0),
        unacceptable=Margin(ratio=1.0 + unacceptable, slack=0.0),
    )


def restarts(name: str) -> MetricConfig:
    """Restarts (as errors) in pod-seconds (as requests): a tenth more than the baseline's and one in an hour of a pod are tolerated."""
    return MetricConfig(
        name=name,
        kind=Kind.RESTARTS,
        weight=0.375,
        tolerated=Margin(ratio=1.1, slack=1.0 / 3600.0),
        unacceptable=Margin(ratio=2.0, slack=12.0 / 3600.0),
    )


class RampConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The adaptive ramp: weights are climbed by evidence.

    `start` is the weight of the warm-up (percent); None takes 15 requests a scrape, between 0.5 and 5 percent. A rung is climbed after
    `dwell_scrapes`, when the worst excess not yet refuted could fail at most `budget` requests in a minute at the next rung, or as many
    as fail in a minute anyway, times `budget_of_usual`: where errors are common and come in bursts, nothing smaller could be told apart
    at a small weight. The promotion waits for `bake_seconds` after the first exposure.
    """

    rungs: tuple[float, ...] = (5.0, 15.0, 50.0)
    start: float | None = None
    dwell_scrapes: int = 2
    budget: float = 30.0
    budget_of_usual: float = 0.5
    bake_seconds: float = 900.0


class JudgeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """All the judge needs to know. Seconds are rounded up to whole ticks; windows are counted in ticks.

    `ladder` lists the rollout's weights, from which a retreat picks the lowest one that still brings evidence. `ramp` lets the judge
    choose the weights itself, and then needs no ladder. `risk_budget` makes `Advance` wait until the worst excess not yet refuted, times
    the requests the next weight of the ladder serves in a minute, is at most that many failed requests; None leaves the pace to the
    steps. `split` judges whether the canary gets its share (only where requests are assigned at random, one by one). `rps` is the
    traffic of the hours before, for the ramp's start.
    """

    metrics: tuple[MetricConfig, ...]
    scrape_seconds: float = 15.0
    max_false_rollback_percent: float = 1.0
    max_bad_promotion_percent: float = 5.0
    deadline_seconds: float = 3600.0
    warm_up_seconds: float = 60.0
    settle_scrapes: int = 2
    no_data_grace_seconds: float = 60.0
    ladder: tuple[float, ...] = ()
    ramp: RampConfig | None = None
    strictness: Strictness = Strictness.WIDEN
    split: bool = False
    rps: float | None = None
    cap: float = 2.5
    fine_cap: float = 0.75
    start_weight: float = 0.8
    require_calm: bool = True
    risk_budget: float | None = None

    def __post_init__(self) -> None:
        _check(self)

    @property
    def alpha(self) -> float:
        return self.max_false_rollback_percent / 100.0

    @property
    def beta(self) -> float:
        return self.max_bad_promotion_percent / 100.0

    @property
    def weights(self) -> tuple[float, ...]:
        """The weights of the rollout, rising: the ramp's, or the steps'."""
        if self.ramp is None:
            return tuple(sorted(self.ladder))
        start = self.start_percent
        return (start, *(r for r in self.ramp.rungs if r > start))

    @property
    def start_percent(self) -> float:
        """15 requests a scrape, between 0.5 and 5 percent, rounded to a half; 1 where the traffic is unknown."""
        if self.ramp is not None and self.ramp.start is not None:
            return self.ramp.start
        if not self.rps:
            return 1.0
        return min(5.0, max(0.5, round(2 * 100.0 * START_REQUESTS / (self.rps * self.scrape_seconds)) / 2))

    def ticks(self, seconds: float) -> int:
        """Seconds as whole ticks, rounded up."""
        return math.ceil(seconds / self.scrape_seconds - 1e-9)

    def metric_weight(self, name: str) -> float:
        """Share of the risk budget; with the catastrophe bet all shares add up to 1."""
        total = sum(m.weight for m in self.metrics)
        own = sum(m.weight for m in self.metrics if m.name == name)
        return (1.0 - CATASTROPHE_WEIGHT) * own / total

    def catastrophe_weight(self, name: str) -> float:
        """The catastrophe bet's share, divided among the metrics that can show an outage."""
        total = sum(m.weight for m in self.metrics if m.kind is Kind.RATIO and m.worse is Worse.HIGHER)
        own = sum(m.weight for m in self.metrics if m.name == name and m.kind is Kind.RATIO and m.worse is Worse.HIGHER)
        return CATASTROPHE_WEIGHT * own / total if total else 0.0

    @property
    def restarts(self) -> tuple[int, ...]:
        """Late starts of the bets: 5, 10, 15, 20, 30 and 40 minutes."""
        return tuple(sorted({max(1, self.ticks(minutes * 60.0)) for minutes in (5, 10, 15, 20, 30, 40)}))

    def ratio_options(self, metric: MetricConfig) -> RatioOptions:
        return RatioOptions(
            tolerated=metric.tolerated,
            unacceptable=metric.unacceptable,
            cap=self.tick_cap,
            fine_cap=self.tick_fine_cap,
            bound_cap=self.tick_fine_cap,
            start_weight=self.start_weight,
            restarts=self.restarts,
            gain_ticks=self.gain_ticks,
            small_effects=metric.worse is Worse.LOWER,
        )

    def histogram_options(self, metric: MetricConfig) -> HistogramOptions:
        return HistogramOptions(
            edges=metric.edges,
            tolerated=metric.tolerated.ratio - 1.0,
            unacceptable=metric.unacceptable.ratio - 1.0,
            history=metric.shape,
            history_phi=metric.shape_phi,
            cap=self.tick_cap,
            fine_cap=self.tick_fine_cap,
            start_weight=self.start_weight,
            restarts=self.restarts,
            gain_ticks=self.gain_ticks,
        )

    def gauge_options(self, metric: MetricConfig) -> GaugeOptions:
        return GaugeOptions(
            tolerated=metric.tolerated.ratio - 1.0,
            unacceptable=metric.unacceptable.ratio - 1.0,
            unit_variance=metric.unit_variance,
            block_ticks=max(1, self.ticks(60.0)),
            cap=self.cap,
            fine_cap=self.fine_cap,
            start_weight=self.start_weight,
            restarts=self.restarts,
            gain_ticks=self.gain_ticks,
        )

    @property
    def tick_cap(self) -> float:
        """Nats of bad news in a tick: `cap`, and half as much again for longer ones, so that two scrapes have to agree and two suffice."""
        return self.cap * min(1.5, max(1.0, self.scrape_seconds / STANDARD_SCRAPE))

    @property
    def tick_fine_cap(self) -> float:
        """Nats of good news in a tick: `fine_cap` for one of 15 s or less, in proportion for longer ones, so that a proof takes no longer."""
        return self.fine_cap * max(1.0, self.scrape_seconds / STANDARD_SCRAPE)

    @property
    def gain_ticks(self) -> int:
        """The last five minutes, over which a proof must not be losing."""
        return max(1, self.ticks(300.0))

    @property
    def digest(self) -> str:
        """Short hash for the status: same digest, same test."""
        return hashlib.blake2b(msgspec.json.encode(self), digest_size=8).hexdigest()


def _check(config: JudgeConfig) -> None:
    names = [m.name for m in config.metrics]
    if not names:
        raise ConfigError("analysis.metrics is empty: name at least one metric, or use `judge: TemplatesOnly`")
    if len(set(names)) != len(names):
        raise ConfigError(
            f"analysis.metrics names {sorted(n for n in set(names) if names.count(n) > 1)} twice: give each metric its own name"
        )
    for field in ("max_false_rollback_percent", "max_bad_promotion_percent"):
        value = getattr(config, field)
        if not 0 < value < 50:
            raise ConfigError(f"{field} is {value}: give a percentage above 0 and below 50, for example 1")
    for field in ("scrape_seconds", "deadline_seconds"):
        if not (math.isfinite(getattr(config, field)) and getattr(config, field) > 0):
            raise ConfigError(f"{field} is {getattr(config, field)}: give a positive number of seconds")
    if not 0 < config.start_weight < 1:
        raise ConfigError(
            f"start_weight is {config.start_weight}: give a part of the bets above 0 and below 1; the rest is for late starts"
        )
    for metric in config.metrics:
        check_margins(metric.name, metric.tolerated, metric.unacceptable)
        _check_metric(metric)
    if config.ramp is not None:
        _check_ramp(config.ramp)


def _check_metric(metric: MetricConfig) -> None:
    if not (math.isfinite(metric.weight) and metric.weight > 0):
        raise ConfigError(f"metrics[{metric.name}].weight is {metric.weight}: give a positive number")
    if metric.kind is Kind.HISTOGRAM:
        rising = all(0 < a < b < math.inf for a, b in itertools.pairwise(metric.edges))
        if len(metric.edges) < LEAST_EDGES or not rising:
            raise ConfigError(
                f"metrics[{metric.name}].edges is {metric.edges}: give at least {LEAST_EDGES} rising, finite bucket bounds above 0, without +Inf"
            )
        if metric.shape and len(metric.shape) != len(metric.edges):
            raise ConfigError(
                f"metrics[{metric.name}].shape has {len(metric.shape)} values for {len(metric.edges)} edges: give one for each"
            )


def _check_ramp(ramp: RampConfig) -> None:
    if not ramp.rungs or not all(0 < a < b for a, b in itertools.pairwise((*ramp.rungs, 100.0))):
        raise ConfigError(f"ramp.rungs is {ramp.rungs}: give rising weights above 0 and below 100 percent, for example 5, 15, 30, 50")
    if ramp.start is not None and not 0 < ramp.start < 100:
        raise ConfigError(f"ramp.start is {ramp.start}: give a weight above 0 and below 100 percent, or leave it out")


LEAST_EDGES: Final = 3


def check_margins(name: str, tolerated: Margin, unacceptable: Margin) -> None:
    """Between "roll back if worse by" and "promote if within" there must be room, or neither could ever be shown."""
    if tolerated.ratio < 1 or tolerated.slack < 0 or not math.isfinite(tolerated.ratio + tolerated.slack):
        raise ConfigError(
            f"metrics[{name}].rollbackIfWorseBy is {tolerated.ratio:g}x+{tolerated.slack * 100:g}pp: it must allow at least 1x and +0pp"
        )
    if unacceptable.ratio < tolerated.ratio or unacceptable.slack < tolerated.slack or unacceptable == tolerated:
        raise ConfigError(
            f"metrics[{name}].promoteIfWithin ({unacceptable.ratio:g}x+{unacceptable.slack * 100:g}pp) must be wider than rollbackIfWorseBy "
            f"({tolerated.ratio:g}x+{tolerated.slack * 100:g}pp): raise the former or lower the latter"
        )
