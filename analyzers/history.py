"""What the hours before a rollout teach about a service: its traffic, its clumps, its shape, and how much its pods differ.

All of it is learnt from the baseline alone, before the first tick, and frozen into the judge's options: a dispersion, margin or shape
chosen with the canary in sight would void the guarantee. Nothing is drawn at random: placebo arms are every tenth unit, in turn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from analyzers.errors import ConfigError
from analyzers.options import JudgeConfig, Kind, MetricConfig, Strictness, Worse
from analyzers.stats.alone import LEAST_WINDOWS, before_after_ratio
from analyzers.stats.buckets import survival
from analyzers.stats.mixture import Array
from analyzers.stats.ratio import Margin
from analyzers.stats.units import LEAST_UNITS, PRECISE, UnitEffects, estimate

Counts = NDArray[Any]
"""Of whatever number type the harness has."""

BLOCK_SECONDS: Final = 300.0
PRIOR_PHI: Final = 1.5
PSEUDO_VARIANCE: Final = 5.0
LEAST_TICKS: Final = 20
HARM_BUDGET: Final = 30.0
"""Requests that may fail in the half hour after a promotion, at the bound it was promoted on."""
AFTERMATH_SECONDS: Final = 1800.0
SLOWER_LADDER: Final = (0.25, 0.5, 1.0)
SLOWER_REQUESTS: Final = (2500.0, 900.0)
"""Canary requests within a bake that a bound of 25 % and of 50 % takes to prove; with fewer, the next wider one is used."""


@dataclass(frozen=True, kw_only=True)
class History:
    """The baseline before the start, tick by tick and unit by unit (a pod, a user bucket; one column where they cannot be told apart).

    `events` and `requests`: (ticks, units) of a ratio. `buckets`: (ticks, units, buckets) of a histogram, +Inf last. `values`: (ticks,
    units) of a gauge.
    """

    events: Counts | None = None
    requests: Counts | None = None
    buckets: Counts | None = None
    values: Counts | None = None


def learn(config: JudgeConfig, history: Mapping[str, History]) -> JudgeConfig:
    """The same options with what history knows filled in; metrics without history stay as they are."""
    metrics = tuple(_learn(config, m, history[m.name]) if m.name in history else m for m in config.metrics)
    totals = [h.requests for h in history.values() if h.requests is not None and h.requests.size]
    rps = max((float(t.sum(axis=1).mean()) / config.scrape_seconds for t in totals), default=config.rps)
    if rps and config.strictness is Strictness.WIDEN:
        metrics = tuple(fit(m, rps, config) for m in metrics)
    return msgspec.structs.replace(config, metrics=metrics, rps=rps)


def _learn(config: JudgeConfig, metric: MetricConfig, history: History) -> MetricConfig:
    match metric.kind:
        case Kind.RATIO:
            return _learn_ratio(config, metric, history)
        case Kind.HISTOGRAM:
            return _learn_histogram(config, metric, history)
        case Kind.GAUGE:
            return _learn_gauge(config, metric, history)
        case Kind.RESTARTS:
            return metric


def _learn_ratio(config: JudgeConfig, metric: MetricConfig, history: History) -> MetricConfig:
    events, requests = _pair(metric, history.events, history.requests)
    if events.shape[0] < LEAST_TICKS or requests.sum() <= 0:
        return metric
    x, n = events.sum(axis=0), requests.sum(axis=0)
    seen = x >= 1
    effects = estimate(np.log(x[seen] / n[seen]), 1.0 / x[seen], precise=PRECISE) if seen.sum() >= LEAST_UNITS else UnitEffects()
    return msgspec.structs.replace(
        metric,
        history_phi=placebo_phi(events, requests, block=config.ticks(BLOCK_SECONDS)),
        usual_rate=float((x.sum() + 0.5) / (n.sum() + 1.0)),
        tau=effects.tau,
    )


def _learn_histogram(config: JudgeConfig, metric: MetricConfig, history: History) -> MetricConfig:
    if history.buckets is None or history.buckets.shape[0] < LEAST_TICKS or history.buckets.sum() <= 0:
        return metric
    buckets: Array = np.asarray(history.buckets, dtype=np.float64)
    if buckets.ndim != 3 or buckets.shape[2] != len(metric.edges) + 1:
        raise ConfigError(f"history of {metric.name} has shape {buckets.shape}: give (ticks, units, {len(metric.edges) + 1} buckets)")
    shape = survival(buckets.sum(axis=(0, 1)))
    tails = np.cumsum(buckets[:, :, ::-1], axis=2)[:, :, ::-1][:, :, 1:]
    requests = buckets.sum(axis=2)
    block = config.ticks(BLOCK_SECONDS)
    phi = tuple(placebo_phi(tails[:, :, j], requests, block=block) for j in range(len(metric.edges)))
    return msgspec.structs.replace(
        metric, shape=tuple(shape.tolist()), shape_phi=phi, tau=_shift_effects(np.array(metric.edges), buckets.sum(axis=0)).tau
    )


def _learn_gauge(config: JudgeConfig, metric: MetricConfig, history: History) -> MetricConfig:
    """Long-run variance of one unit's log over a minute: from five-minute means, so that autocorrelation is in it."""
    if history.values is None or history.values.shape[0] < LEAST_TICKS or history.values.ndim != 2 or history.values.shape[1] < 2:
        return metric
    logs = np.log(np.maximum(np.asarray(history.values, dtype=np.float64), 1e-12))
    logs = logs - logs.mean(axis=1, keepdims=True)
    block, minute = config.ticks(BLOCK_SECONDS), max(1, config.ticks(60.0))
    means = _blocks(logs, block) / block
    units = means.shape[1]
    spread = units / (units - 1)
    within = means - means.mean(axis=0)
    rows = max(means.shape[0] - 1, 1)
    variance = float((within**2).sum() / (rows * units)) * spread * block / minute
    tau = estimate(means.mean(axis=0), np.full(units, variance * minute / block / means.shape[0])).tau
    return msgspec.structs.replace(metric, unit_variance=max(variance, 1e-6), tau=tau)


def placebo_phi(events: Array, requests: Array, *, block: int) -> float:
    """Variance of a placebo arm's share of the events over its hypergeometric variance, in blocks of five minutes.

    Arms are every tenth unit in turn; of one unit alone, every other tick. Around each placebo's own rate ratio, so that a lasting
    difference between units is left to tau. Shrunk to 1.5 by five units of variance, floor 1. Source: quasi-likelihood (Wedderburn 1974).
    """
    if events.shape[1] == 1:
        pairs = events.shape[0] // 2 * 2
        x, n = events[:pairs, 0].reshape(-1, 2), requests[:pairs, 0].reshape(-1, 2)
        arms = [(x[:, 0], n[:, 0], x[:, 1], n[:, 1])]
    else:
        x, n = _blocks(events, block), _blocks(requests, block)
        groups = min(10, events.shape[1])
        arms = []
        for r in range(groups):
            mine = np.arange(events.shape[1]) % groups == r
            arms.append((x[:, mine].sum(axis=1), n[:, mine].sum(axis=1), x[:, ~mine].sum(axis=1), n[:, ~mine].sum(axis=1)))
    squares, variance = 0.0, 0.0
    for one in arms:
        s, v = _spread(*one)
        squares, variance = squares + s / len(arms), variance + v / len(arms)
    return max(1.0, (squares + PRIOR_PHI * PSEUDO_VARIANCE) / (variance + PSEUDO_VARIANCE))


def _spread(x_1: Array, n_1: Array, x_2: Array, n_2: Array) -> tuple[float, float]:
    fit = (n_1 > 0) & (n_2 > 0)
    x_1, n_1, x_2, n_2 = x_1[fit], n_1[fit], x_2[fit], n_2[fit]
    n, x = n_1 + n_2, x_1 + x_2
    if not n.size or x.sum() == 0:
        return 0.0, 0.0
    ratio = (float((x_1 * n_2 / n).sum()) + 0.5) / (float((x_2 * n_1 / n).sum()) + 0.5)
    q = ratio * n_1 / (ratio * n_1 + n_2)
    left = (n - x) / np.maximum(n - 1.0, 1.0)
    return float(((x_1 - x * q) ** 2).sum()), float((x * q * (1.0 - q) * left).sum())


def _shift_effects(edges: Array, by_unit: Array) -> UnitEffects:
    """Between-unit spread of the log latency, from each unit's median by interpolation of logit(survival) against log(x)."""
    if by_unit.shape[0] < LEAST_UNITS:
        return UnitEffects()
    places, shifts, variances = np.log(edges), [], []
    for counts in by_unit:
        n = counts.sum()
        if n < 50:
            continue
        tails = np.clip(survival(counts), 1e-4, 1.0 - 1e-4)
        logit = np.log(tails / (1.0 - tails))
        shifts.append(float(np.interp(0.0, -logit, places)))
        j = int(np.clip(np.searchsorted(-logit, 0.0), 1, edges.size - 1))
        slope = max((logit[j - 1] - logit[j]) / (places[j] - places[j - 1]), 0.1)
        variances.append(4.0 / (n * slope**2))
    return estimate(np.array(shifts), np.array(variances))


def fit(metric: MetricConfig, rps: float, config: JudgeConfig) -> MetricConfig:
    """The bound that this traffic can prove: as wide as costs 30 requests in the half hour after the promotion, if nothing tighter fits."""
    if metric.kind is Kind.RATIO and metric.worse is Worse.HIGHER:
        slack = min(0.1, HARM_BUDGET / (rps * AFTERMATH_SECONDS))
        bound = metric.unacceptable
        return msgspec.structs.replace(metric, unacceptable=Margin(ratio=bound.ratio, slack=max(bound.slack, slack)))
    if metric.kind is Kind.HISTOGRAM:
        bake = config.ramp.bake_seconds if config.ramp else 900.0
        requests = 0.5 * rps * bake * 0.7
        least = next((s for s, n in zip(SLOWER_LADDER, SLOWER_REQUESTS, strict=False) if requests >= n), SLOWER_LADDER[-1])
        ratio = max(metric.unacceptable.ratio, 1.0 + least) if least > SLOWER_LADDER[0] else metric.unacceptable.ratio
        return msgspec.structs.replace(metric, unacceptable=Margin(ratio=ratio, slack=0.0))
    return metric


def before(metric: MetricConfig, events: Counts, requests: Counts, *, window: int) -> MetricConfig:
    """For a switch from 0 to 100 %: the last `window` ticks are the control, with a margin as wide as ten earlier windows swing."""
    count = events.shape[0] // window
    if count < LEAST_WINDOWS:
        raise ConfigError(f"{count} windows of {window} ticks in the history of {metric.name}: {LEAST_WINDOWS} are needed")
    last = events.shape[0] - count * window
    x, n = events[last:].reshape(count, window).sum(axis=1), requests[last:].reshape(count, window).sum(axis=1)
    ratio = before_after_ratio([(int(a), int(b)) for a, b in zip(x, n, strict=True)], tolerated=metric.tolerated.ratio)
    ticks = tuple((int(b), int(a)) for a, b in zip(events[-window:], requests[-window:], strict=True))
    return msgspec.structs.replace(metric, before=ticks, before_ratio=ratio)


def _pair(metric: MetricConfig, events: Counts | None, requests: Counts | None) -> tuple[Array, Array]:
    if events is None or requests is None or events.shape != requests.shape or events.ndim != 2:
        raise ConfigError(f"history of {metric.name}: give events and requests of one shape, (ticks, units)")
    return np.asarray(events, dtype=np.float64), np.asarray(requests, dtype=np.float64)


def _blocks(values: Array, block: int) -> Array:
    """Sums over whole blocks of ticks; a shorter history is one block."""
    block = min(block, values.shape[0])
    count = values.shape[0] // block
    sums: Array = values[: count * block].reshape(count, block, *values.shape[1:]).sum(axis=1)
    return sums
