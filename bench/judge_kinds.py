"""The kinds of release in the bench, good and bad, with the ranges that their parameters are drawn from.

Fixed before the judge was scored on them; a kind is a sentence about a service, not a number that some policy happens to like.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bench.judge_world import Service, after, always, between

Draw = Callable[[np.random.Generator], Service]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """`bad`: promoting it is a mistake; else rolling it back is."""

    name: str
    bad: bool
    about: str
    draw: Draw


def _rate(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _good() -> tuple[Kind, ...]:
    def kind(name: str, about: str, draw: Draw) -> Kind:
        return Kind(name=name, bad=False, about=about, draw=draw)

    return (
        kind("steady", "100 rps, nothing special", lambda g: Service(rps=_rate(g, 80, 150), errors=_rate(g, 5e-4, 3e-3))),
        kind("busy", "1000 rps", lambda g: Service(rps=_rate(g, 600, 1500), errors=_rate(g, 5e-4, 3e-3))),
        kind("quiet", "10 rps", lambda g: Service(rps=_rate(g, 7, 15), errors=_rate(g, 5e-4, 3e-3), pods=10)),
        kind("trickle", "0.5 rps", lambda g: Service(rps=_rate(g, 0.4, 0.7), errors=_rate(g, 5e-4, 3e-3), pods=3, canary_pods=1)),
        kind("bursts", "errors come in bursts, and did before", lambda g: Service(errors=_rate(g, 5e-3, 2e-2), burst=g.uniform(3, 8))),
        kind(
            "new-bursts",
            "bursts that history did not have",
            lambda g: Service(errors=_rate(g, 5e-3, 2e-2), burst=g.uniform(3, 8), history_burst=1.0),
        ),
        kind(
            "cold-start",
            "the first minute fails and is slow",
            lambda g: Service(more_errors=between(0, 4, g.uniform(0.01, 0.025)), slower=between(0, 4, g.uniform(1.5, 3.0), 1.0)),
        ),
        kind("incident", "both arms fail for a while", lambda g: Service(shared_errors=_window(g, g.uniform(0.02, 0.2), 0.0))),
        kind("slow-incident", "both arms are slow for a while", lambda g: Service(shared_slower=_window(g, g.uniform(1.5, 3.0), 1.0))),
        kind("pod-offsets", "pods differ in latency for good", lambda g: Service(pod_sd=g.uniform(0.05, 0.12))),
        kind("drift", "traffic, rates and latency wander", lambda g: Service(drift=g.uniform(0.2, 0.5), wander=g.uniform(0.03, 0.06))),
        kind("many-errors", "5 % of all requests fail as ever", lambda g: Service(errors=g.uniform(0.03, 0.08))),
        kind("late-scrape", "the canary's samples are one scrape behind", lambda g: Service(rps=_rate(g, 50, 500), late=True)),
        kind("sticky", "split by connection, not by request", lambda g: Service(connections=int(g.integers(100, 1000)))),
        kind(
            "conversions",
            "orders come minutes after the visit",
            lambda g: Service(conversion=g.uniform(0.02, 0.05), conversion_lag=g.uniform(4, 12)),
        ),
        kind("faster", "fewer errors, less latency, less CPU", lambda _: Service(error_factor=0.5, slower=always(0.7), more_usage=0.8)),
        kind("slow-service", "p99 of 600 ms as ever", lambda g: Service(median=g.uniform(0.14, 0.2))),
    )


def _window(rng: np.random.Generator, value: float, other: float) -> Callable[[int], float]:
    start = int(rng.integers(6, 40))
    return between(start, start + int(rng.integers(8, 32)), value, other)


def _bad() -> tuple[Kind, ...]:
    def kind(name: str, about: str, draw: Draw) -> Kind:
        return Kind(name=name, bad=True, about=about, draw=draw)

    return (
        kind("one-point", "+1 pp errors, 100 rps", lambda g: Service(rps=_rate(g, 80, 150), more_errors=always(g.uniform(0.008, 0.015)))),
        kind("one-point-busy", "+1 pp, 1000 rps", lambda g: Service(rps=_rate(g, 600, 1500), more_errors=always(g.uniform(0.008, 0.015)))),
        kind(
            "point-quiet", "+1 to 2 pp, 10 rps", lambda g: Service(rps=_rate(g, 7, 15), more_errors=always(g.uniform(0.01, 0.02)), pods=10)
        ),
        kind(
            "points-trickle",
            "+10 to 30 pp, 0.5 rps",
            lambda g: Service(rps=_rate(g, 0.4, 0.7), more_errors=always(g.uniform(0.1, 0.3)), pods=3, canary_pods=1),
        ),
        kind("outage", "everything fails from the start", lambda g: Service(rps=_rate(g, 50, 200), more_errors=always(1.0))),
        kind(
            "late",
            "+1 to 3 pp from minute 6 to 11 on",
            lambda g: Service(more_errors=after(int(g.integers(24, 44)), g.uniform(0.01, 0.03))),
        ),
        kind("doubled", "twice as many of many errors", lambda g: Service(errors=g.uniform(0.02, 0.05), error_factor=g.uniform(1.8, 2.5))),
        kind("slow", "30 to 80 % slower", lambda g: Service(slower=always(g.uniform(1.3, 1.8)))),
        kind("slow-tail", "the slowest 5 % take three times as long", lambda g: Service(tail=always(g.uniform(2.5, 4.0)))),
        kind("hungry", "CPU per request +40 to 80 %", lambda g: Service(more_usage=g.uniform(1.4, 1.8))),
        kind(
            "sick-baseline",
            "+1 pp, while the baseline is sick for two minutes",
            lambda g: Service(more_errors=always(g.uniform(0.008, 0.015)), baseline_errors=between(4, 12, 0.05)),
        ),
        kind("lock", "hurts both arms in step with its weight", lambda g: Service(lock=g.uniform(0.1, 0.3))),
        kind(
            "lost-orders",
            "a quarter to half of the orders are lost",
            lambda g: Service(conversion=g.uniform(0.02, 0.05), conversion_lag=g.uniform(4, 12), conversion_factor=g.uniform(0.5, 0.75)),
        ),
        kind("retries", "fails, and callers try again", lambda g: Service(more_errors=always(g.uniform(0.02, 0.05)), retries=2.0)),
        kind("no-traffic", "the route never reaches the canary", lambda _: Service(dead_from=0, more_errors=always(0.05))),
        kind("leak", "fails more and more", lambda g: Service(more_errors=_growing(g.uniform(0.02, 0.06)))),
        kind("cascade", "slower and failing at once", lambda g: Service(slower=always(1.5), more_errors=always(g.uniform(0.005, 0.01)))),
    )


def _growing(most: float) -> Callable[[int], float]:
    return lambda k: most * min(1.0, max(0.0, (k - 8) / 40.0))


KINDS: tuple[Kind, ...] = (*_good(), *_bad())
