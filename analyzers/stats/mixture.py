"""A bet spread over effect sizes and over start times, because neither is known in advance.

An average of bets with weights fixed beforehand is a bet. Effect sizes are a grid with a prior. Start times matter for what
turns bad late: a bet that lost for twenty good minutes would first have to win that back, so part of the weight waits and
enters fresh at fixed times. All starts share their increments from then on, so one sum per effect size holds them all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class MixtureState(msgspec.Struct, frozen=True, kw_only=True):
    """`logs`: log of each effect size's summed starts (empty before the first tick); `opened`: how many late starts entered."""

    logs: tuple[float, ...] = ()
    opened: int = 0


class Mixture:
    """Log of sum_i prior_i sum_s weight_s prod_{k > s} S_ik, with S_ik one tick's bet on effect size i.

    Null: whatever the bets S are against. Valid because weights and start ticks are fixed before the first tick; E[S] <= 1 then
    gives E[mixture] <= 1 at every tick, and Ville's inequality P(it ever reaches 1/alpha) <= alpha. Units: nats.
    Source: Vovk & Wang, E-values (Ann. Statist. 2021), on averages; Shin, Ramdas & Rinaldo (2023) on start times.
    """

    def __init__(
        self, log_prior: Array, *, start_weight: float = 1.0, restarts: Sequence[int] = (), state: MixtureState | None = None
    ) -> None:
        s = state or MixtureState()
        first = start_weight if restarts else 1.0
        self._log_prior, self._restarts = log_prior, tuple(restarts)
        self._late = (1.0 - first) / len(restarts) if restarts else 0.0
        self._logs: Array = np.array(s.logs, dtype=np.float64) if s.logs else np.full(log_prior.size, math.log(first))
        self._opened = s.opened

    @property
    def state(self) -> MixtureState:
        return MixtureState(logs=tuple(self._logs.tolist()), opened=self._opened)

    @property
    def logs(self) -> Array:
        """One value per effect size, without its prior."""
        return self._logs

    def clock(self, tick: int) -> None:
        """Let in the starts whose tick has come, whatever the data say."""
        while self._opened < len(self._restarts) and tick >= self._restarts[self._opened]:
            self._logs = np.logaddexp(self._logs, math.log(self._late))
            self._opened += 1

    def take(self, bets: Array, phi: float | Array, cap: float) -> None:
        """One tick: log bets, made careful by phi >= 1 and never worth more than `cap` nats (both keep a bet a bet)."""
        self._logs = self._logs + np.minimum(bets / phi, cap)

    @property
    def log_e(self) -> float:
        total = log_mean_exp(self._logs, self._log_prior)
        waiting = len(self._restarts) - self._opened
        return float(np.logaddexp(total, math.log(self._late * waiting))) if waiting else total


def log_mean_exp(values: Array, log_weights: Array) -> float:
    """Log of sum(w exp(v)), safe for large and for very negative values."""
    total = values + log_weights
    top = float(total.max())
    return top + math.log(float(np.exp(total - top).sum()))
