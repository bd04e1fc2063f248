"""Before the start: how long it will take, and what can be noticed at all.

A bet gains a known number of nats per canary request; dividing what is needed by it gives the requests, and the traffic
gives the minutes. The formula was checked against simulation (planned 906 and 989, simulated 933 and 996 requests).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec
import numpy as np

from analyzers.errors import ConfigError
from analyzers.options import JudgeConfig, Kind, MetricConfig
from analyzers.stats.mixture import Array
from analyzers.stats.ratio import FINE_PRIOR, Margin, count_increment

MIXTURE = 2.5
"""Nats that the mixture over effect sizes costs, on average."""
PLAN_PHI = 1.2
WORSE_SEARCH: Array = np.geomspace(1.02, 2000.0, 400)
FINE_SEARCH: Array = np.geomspace(0.005, 0.98, 200)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers for the sentence before the first release. None: never at this traffic, since nothing is gained.

    `detect_*`: to roll back a canary that is `excess` worse, on average. `prove_*`: to show that an equal canary is
    within the promotion bound. `least_share` is the smallest share in percent at which the proof fits the deadline.
    """

    excess: float
    share_percent: float
    canary_requests_per_hour: float
    detect_requests: float | None
    detect_minutes: float | None
    prove_requests: float | None
    prove_minutes: float | None
    deadline_minutes: float
    fits: bool
    least_share: int | None


def plan(config: JudgeConfig, share: float, rps: float, p_b: float, *, excess: float = 0.01, metric: MetricConfig | None = None) -> Plan:
    """For a service with `rps` requests a second, `p_b` of them failing, and the canary at `share` (0..1) of the traffic."""
    if not 0 < share < 1 or rps <= 0 or not 0 <= p_b < 1:
        raise ConfigError(f"a plan needs 0 < share < 1, rps > 0 and 0 <= p_b < 1, not share={share}, rps={rps}, p_b={p_b}")
    chosen = metric or config.metrics[0]
    canary_rps = rps * share
    detect = _detect(config, chosen, share, canary_rps, p_b=p_b, excess=excess)
    prove = _prove(config, chosen, share, canary_rps, p_b)
    deadline = config.deadline_seconds / 60.0
    fits = prove is not None and prove / canary_rps / 60.0 <= deadline
    return Plan(
        excess=excess,
        share_percent=share * 100.0,
        canary_requests_per_hour=canary_rps * 3600.0,
        detect_requests=detect,
        detect_minutes=None if detect is None else detect / canary_rps / 60.0,
        prove_requests=prove,
        prove_minutes=None if prove is None else prove / canary_rps / 60.0,
        deadline_minutes=deadline,
        fits=fits,
        least_share=_least_share(config, chosen, rps, p_b, deadline),
    )


def information(share: float, p_c: float, p_b: float, margin: Margin, rho: Array) -> float:
    """Nats gained per canary request by the best bet: the increment is linear in the counts, so expectations go in."""
    gains = count_increment(p_c, 1.0, p_b * (1 - share) / share, (1 - share) / share, rho, ratio=margin.ratio, slack=margin.slack)
    return float(gains.max())


def _overhead(config: JudgeConfig, canary_rps: float) -> float:
    """Requests that pass before any evidence counts: the warm-up, and half a tick."""
    return canary_rps * (config.warm_up_seconds + config.scrape_seconds / 2.0)


def _detect(config: JudgeConfig, metric: MetricConfig, share: float, canary_rps: float, *, p_b: float, excess: float) -> float | None:
    gain = information(share, min(1.0, p_b + excess), p_b, metric.tolerated, WORSE_SEARCH)
    if gain <= 0:
        return None
    need = math.log(1.0 / config.alpha) + math.log(1.0 / config.metric_weight(metric.name)) + math.log(1.0 / config.start_weight) + MIXTURE
    phi = max(PLAN_PHI, metric.history_phi or 1.0)
    least = math.ceil(need / config.tick_cap) * config.scrape_seconds * canary_rps
    return max(phi * need / gain, least) + _overhead(config, canary_rps)


def _prove(config: JudgeConfig, metric: MetricConfig, share: float, canary_rps: float, p_b: float) -> float | None:
    gain = information(share, p_b, p_b, metric.unacceptable, FINE_SEARCH)
    if gain <= 0:
        return None
    need = math.log(1.0 / config.beta) - math.log(float(FINE_PRIOR[-1]))
    phi = max(PLAN_PHI, metric.history_phi or 1.0)
    least = math.ceil(need / config.tick_fine_cap) * config.scrape_seconds * canary_rps
    return max(phi * need / gain, least) + _overhead(config, canary_rps)


def _least_share(config: JudgeConfig, metric: MetricConfig, rps: float, p_b: float, deadline: float) -> int | None:
    for percent in range(1, 51):
        share = percent / 100.0
        requests = _prove(config, metric, share, rps * share, p_b)
        if requests is not None and requests / (rps * share) / 60.0 <= deadline:
            return percent
    return None


def expected_minutes(config: JudgeConfig, rps: float, rates: Mapping[str, float]) -> float | None:
    """Minutes until a good release is promoted by the adaptive ramp: the climb, then the slowest metric's proof, or the bake.

    `rates` holds each ratio metric's usual share of events. A latency's proof is a number of canary requests that its bound takes;
    a gauge's, one of blocks. None where nothing is gained at this traffic: say before the start that it cannot be decided.
    """
    ramp = config.ramp
    if ramp is None:
        raise ConfigError("expected_minutes needs a ramp: steps keep their own time")
    share = ramp.rungs[-1] / 100.0
    climb = config.warm_up_seconds + (len(config.weights) - 1) * (ramp.dwell_scrapes + 1) * config.scrape_seconds
    slowest = 0.0
    for metric in config.metrics:
        seconds = _proof_seconds(config, metric, share, rps, rates.get(metric.name, metric.usual_rate or 0.001))
        if seconds is None:
            return None
        slowest = max(slowest, metric.lag + seconds)
    return max(ramp.bake_seconds, climb + slowest) / 60.0


def _proof_seconds(config: JudgeConfig, metric: MetricConfig, share: float, rps: float, p_b: float) -> float | None:
    match metric.kind:
        case Kind.GAUGE:
            return 6 * 60.0
        case Kind.RESTARTS:
            return 0.0
        case Kind.HISTOGRAM:
            slower = metric.unacceptable.ratio - 1.0
            return min(need for bound, need in SLOWER_PROOFS if slower >= bound) / (rps * share) if slower >= SLOWER_PROOFS[0][0] else None
        case Kind.RATIO:
            # Swapped arms of equal rates need the same: what is compared is symmetrical at half of the traffic.
            requests = _prove(config, metric, share, rps * share, p_b)
            return None if requests is None else requests / (rps * share)


SLOWER_PROOFS = ((0.05, 60_000.0), (0.1, 15_000.0), (0.25, 2500.0), (0.5, 900.0), (1.0, 350.0))
"""(bound, canary requests): about what it takes to show that a release is not so much slower, at p50, p90 and p99."""
