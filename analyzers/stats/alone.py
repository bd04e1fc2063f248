"""Evidence without a concurrent control: a declared limit, the time before, and the watch after the promotion.

Weaker than a comparison side by side, and said so wherever it is used: nothing common cancels here. A limit is declared by its
owner, never learnt in the rollout; "before" is compared with a margin as wide as history's own swings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from analyzers.errors import ConfigError
from analyzers.stats.mixture import Array, Mixture, MixtureState, log_mean_exp
from analyzers.stats.ratio import FINE_RATIOS, WORSE_PRIOR, WORSE_RATIOS

LEAST_WINDOWS: Final = 10
STATE_VERSION: Final = 1


def one_sample_increment(x: float, n: float, rho: Array, *, limit: float) -> Array:
    """Log of one tick's bet on a rate of rho x limit against the limit itself.

    Null: p <= limit for rho > 1 (p >= limit for rho < 1). Valid for any rates, also changing ones: E[rho^X] <= exp(n p (rho - 1)) for
    Bernoulli and Poisson events. Units: events and exposures in, nats out. Source: the Poisson likelihood ratio (rule 9).
    """
    bet: Array = x * np.log(rho) - n * limit * (rho - 1.0)
    return bet


class OneSampleState(msgspec.Struct, frozen=True, kw_only=True):
    version: int = STATE_VERSION
    ticks: int = 0
    worse: MixtureState = MixtureState()
    fine: MixtureState = MixtureState()


class OneSampleTest:
    """A rate against a declared limit, where there is no baseline (a new endpoint, an SLO)."""

    def __init__(
        self, limit: float, *, cap: float = 2.5, fine_cap: float = 0.75, restarts: Sequence[int] = (), state: OneSampleState | None = None
    ) -> None:
        if not 0.0 < limit < 1.0:
            raise ConfigError(f"the limit is {limit}: give a share between 0 and 1, declared before the rollout")
        s = state or OneSampleState()
        self._limit, self._cap, self._fine_cap, self._ticks = limit, cap, fine_cap, s.ticks
        self._worse = Mixture(np.log(WORSE_PRIOR), start_weight=0.8, restarts=restarts, state=s.worse)
        self._fine = Mixture(np.full(FINE_RATIOS.size, -math.log(FINE_RATIOS.size)), state=s.fine)

    def update(self, x: int, n: int, phi: float = 1.0) -> None:
        self._worse.clock(self._ticks)
        self._ticks += 1
        if n > 0 and 0 <= x <= n and phi >= 1.0:
            self._worse.take(one_sample_increment(x, n, WORSE_RATIOS, limit=self._limit), phi, self._cap)
            self._fine.take(one_sample_increment(x, n, FINE_RATIOS, limit=self._limit), phi, self._fine_cap)

    @property
    def log_e_worse(self) -> float:
        return self._worse.log_e

    @property
    def log_e_fine(self) -> float:
        return self._fine.log_e

    @property
    def state(self) -> OneSampleState:
        return OneSampleState(ticks=self._ticks, worse=self._worse.state, fine=self._fine.state)


def before_after_ratio(windows: Sequence[tuple[int, int]], *, tolerated: float = 1.1) -> float:
    """How much worse than before is tolerated without a control, from history's (events, requests) per window of the same length.

    r0 = tolerated x exp(3 sd of the log ratios of adjacent windows): the service's own swings are not held against a release.
    At least ten windows; fewer say nothing about its swings.
    """
    if len(windows) < LEAST_WINDOWS:
        raise ConfigError(
            f"{len(windows)} windows of history: a comparison with the time before needs {LEAST_WINDOWS}; use a step of 50 % for five minutes"
        )
    rates: Array = np.array([(x + 0.5) / (n + 1.0) for x, n in windows])
    return tolerated * math.exp(3.0 * float(np.std(np.diff(np.log(rates)), ddof=1)))


class DetectorState(msgspec.Struct, frozen=True, kw_only=True):
    version: int = STATE_VERSION
    logs: tuple[float, ...] = ()


class EDetector:
    """Watches a rate against a limit for as long as one likes: after the promotion there is no end to wait for.

    Null: p <= limit in every tick. M = (M + 1) S for each effect size; the average over sizes alerts at 1/a. Valid: E[M_k] <= k under
    the null, so the mean time to a false alert is at least 1/a ticks. Units: events and exposures in, nats out.
    Source: Shin, Ramdas & Rinaldo, E-detectors (2023).
    """

    def __init__(self, limit: float, *, false_alert_every: float = 40_320.0, cap: float = 2.5, state: DetectorState | None = None) -> None:
        if not 0.0 < limit < 1.0:
            raise ConfigError(f"the limit is {limit}: give a share between 0 and 1")
        self._limit, self._need, self._cap = limit, math.log(false_alert_every), cap
        self._logs: Array = np.array(state.logs) if state and state.logs else np.full(WORSE_RATIOS.size, -np.inf)

    def update(self, x: int, n: int, phi: float = 1.0) -> bool:
        """One tick; True while it alerts."""
        if n > 0 and 0 <= x <= n and phi >= 1.0:
            bets = np.minimum(one_sample_increment(x, n, WORSE_RATIOS, limit=self._limit) / phi, self._cap)
            self._logs = np.logaddexp(self._logs, 0.0) + bets
        return self.log_m >= self._need

    @property
    def log_m(self) -> float:
        return log_mean_exp(self._logs, _LOG_PRIOR) if np.isfinite(self._logs).any() else -math.inf

    @property
    def state(self) -> DetectorState:
        return DetectorState(logs=tuple(self._logs.tolist()) if np.isfinite(self._logs).all() else ())


_LOG_PRIOR: Final[Array] = np.log(WORSE_PRIOR)
