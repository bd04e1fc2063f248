"""Is the baseline itself well? Evidence that the canary is fine must not be gathered while the control is sick.

A sick baseline makes any canary look good (46 % of bad releases were promoted without this rule). The limit is three
times the baseline's usual rate: from history when it is known, else from the calm ticks of this rollout.
"""

from __future__ import annotations

import math

import msgspec

CALM_AGAIN_TICKS = (2, 4)
"""Good ticks in a row before the baseline counts as calm (again): a minute of them, between these."""

LIMIT_FACTOR = 3.0
"""Sick is beyond this multiple of the usual rate, plus three standard errors."""


class HealthState(msgspec.Struct, frozen=True, kw_only=True):
    """The last minute of ticks, the calm ticks' totals, and the run of good ticks."""

    window: tuple[tuple[int, int], ...] = ()
    calm_errors: int = 0
    calm_requests: int = 0
    good_run: int = 0
    bad_run: int = 0
    was_calm: bool = False


class BaselineHealth:
    """Calm or not, from the baseline's own counts alone."""

    def __init__(self, *, window_ticks: int, usual_rate: float | None = None, state: HealthState | None = None) -> None:
        self._window_ticks = max(1, window_ticks)
        self._again = min(CALM_AGAIN_TICKS[1], max(CALM_AGAIN_TICKS[0], window_ticks))
        self._usual = usual_rate
        # What history calls usual was calm: the rollout need not learn it again.
        self._s = state or HealthState(good_run=self._again if usual_rate is not None else 0, was_calm=usual_rate is not None)

    @property
    def state(self) -> HealthState:
        return self._s

    @property
    def calm(self) -> bool:
        """True at the end of the last tick: what may be known when the next tick is bet on."""
        return self._s.good_run >= self._again

    @property
    def bad_run(self) -> int:
        """Bad ticks in a row since the baseline was last calm; 0 while it never was."""
        return self._s.bad_run if self._s.was_calm else 0

    def update(self, errors: int, requests: int, phi: float) -> bool:
        """Take one tick of the baseline; True when the last minute stayed below the limit."""
        s = self._s
        window = (*s.window, (errors, requests))[-self._window_ticks :]
        good = self._below_limit(window, phi)
        learn = good
        self._s = HealthState(
            window=window,
            calm_errors=s.calm_errors + (errors if learn else 0),
            calm_requests=s.calm_requests + (requests if learn else 0),
            good_run=s.good_run + 1 if good else 0,
            bad_run=0 if good else s.bad_run + 1,
            was_calm=s.was_calm or s.good_run + int(good) >= self._again,
        )
        return good

    def _below_limit(self, window: tuple[tuple[int, int], ...], phi: float) -> bool:
        errors, requests = sum(x for x, _ in window), sum(n for _, n in window)
        rate = self.rate
        if rate is None or requests == 0:
            return True
        allowed = LIMIT_FACTOR * rate * requests
        return errors <= allowed + 3.0 * math.sqrt(phi * (allowed + 1.0))

    @property
    def rate(self) -> float | None:
        """What is usual: from history, else from this rollout's calm ticks so far."""
        if self._usual is not None:
            return self._usual
        if self._s.calm_requests == 0:
            return None
        return (self._s.calm_errors + 0.5) / (self._s.calm_requests + 1.0)
