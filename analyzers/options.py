"""What the owner fixes before the first tick: the judge's options, frozen and hashed, because changing any of them with
the data in sight would void the guarantee that the numbers stand for.
"""

from __future__ import annotations

import hashlib
import math

import msgspec

from analyzers.errors import ConfigError
from analyzers.stats.ratio import TOLERATED, UNACCEPTABLE, Margin, RatioOptions

CATASTROPHE_WEIGHT = 0.1
"""Part of the risk budget for "this is an outage", which stays live while everything else has to wait."""


class MetricConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One judged ratio. `lag` is how long after an exposure its outcome is known (seconds, q95).

    `history_phi` and `usual_rate` come from the hours before the rollout where a source has them; without, both are
    learnt from the rollout's own earlier ticks.
    """

    name: str
    weight: float = 1.0
    tolerated: Margin = TOLERATED
    unacceptable: Margin = UNACCEPTABLE
    lag: float = 0.0
    history_phi: float | None = None
    usual_rate: float | None = None


class JudgeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """All the judge needs to know. Seconds are rounded up to whole ticks; windows are counted in ticks.

    `ladder` lists the rollout's weights, from which a retreat picks the lowest one that still brings evidence.
    `risk_budget` makes `Advance` wait until the worst excess not yet refuted, times the requests the next weight of the
    ladder serves in a minute, is at most that many failed requests; None leaves the pace to the steps.
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

    def ticks(self, seconds: float) -> int:
        """Seconds as whole ticks, rounded up."""
        return math.ceil(seconds / self.scrape_seconds - 1e-9)

    def metric_weight(self, name: str) -> float:
        """Share of the risk budget; with the catastrophe bet all shares add up to 1."""
        total = sum(m.weight for m in self.metrics)
        own = sum(m.weight for m in self.metrics if m.name == name)
        return (1.0 - CATASTROPHE_WEIGHT) * own / total

    def ratio_options(self, metric: MetricConfig) -> RatioOptions:
        """The test's options: the restarts of the start mixture lie at 5, 10, 15, 20, 30 and 40 minutes."""
        starts = sorted({max(1, self.ticks(minutes * 60.0)) for minutes in (5, 10, 15, 20, 30, 40)})
        return RatioOptions(
            tolerated=metric.tolerated,
            unacceptable=metric.unacceptable,
            cap=self.cap,
            fine_cap=self.fine_cap,
            start_weight=self.start_weight,
            restarts=tuple(starts),
            gain_ticks=max(1, self.ticks(300.0)),
        )

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
    for metric in config.metrics:
        check_margins(metric.name, metric.tolerated, metric.unacceptable)
        if not (math.isfinite(metric.weight) and metric.weight > 0):
            raise ConfigError(f"metrics[{metric.name}].weight is {metric.weight}: give a positive number")


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
