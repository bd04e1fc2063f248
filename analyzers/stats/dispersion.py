"""How much more the canary's share of errors wanders than independent requests would make it wander.

Errors come in bursts: one broken connection or one tenant fails many requests at once. A test that believes in
independent requests then sees "evidence" in every burst. Raising a bet to the power 1/phi keeps it valid and makes it
as careful as the data are clumped. phi used in a tick is always computed from earlier ticks (it must be predictable).
"""

from __future__ import annotations

import msgspec

PRIOR_PHI = 1.5
"""What is believed before anything was seen."""

PSEUDO_EVENTS = 5.0
"""How many events' worth of variance the prior weighs; scaled by share x (1 - share), see `Dispersion.update`."""


class DispersionState(msgspec.Struct, frozen=True, kw_only=True):
    """Sums that reproduce the estimate exactly."""

    squares: float = 0.0
    variance: float = 0.0
    canary_weighted: float = 0.0
    baseline_weighted: float = 0.0
    pseudo: float = 0.0


class Dispersion:
    """Online variance of the canary's share of events around the running rate ratio, over its binomial variance."""

    def __init__(self, *, history: float | None = None, state: DispersionState | None = None) -> None:
        self._history = max(1.0, history) if history is not None else None
        self._s = state or DispersionState()

    @property
    def state(self) -> DispersionState:
        return self._s

    @property
    def phi(self) -> float:
        """The factor for the next tick: the larger of history's and this rollout's, never below 1."""
        s = self._s
        prior = self._history if self._history is not None else PRIOR_PHI
        pseudo = s.pseudo if s.pseudo > 0 else 1.0
        online = (s.squares + prior * pseudo) / (s.variance + pseudo)
        return max(1.0, self._history or 1.0, online)

    def update(self, x_c: int, n_c: int, x_b: int, n_b: int) -> None:
        """Learn from one tick.

        The ratio is Mantel-Haenszel's, including this tick, so that a canary that fails steadily is not mistaken for a
        clumped one: what counts is how unsteady its share of the errors is. The pseudo-count shrinks with the canary's
        share: a constant one would hold the ratio down at small weights and slow down the stop of a total failure.
        """
        events, exposures = x_c + x_b, n_c + n_b
        if events == 0 or n_c == 0 or n_b == 0:
            return
        s, share = self._s, n_c / exposures
        pseudo = PSEUDO_EVENTS * share * (1.0 - share)
        canary = s.canary_weighted + x_c * n_b / exposures
        baseline = s.baseline_weighted + x_b * n_c / exposures
        ratio = (canary + pseudo) / (baseline + pseudo)
        q = ratio * n_c / (ratio * n_c + n_b)
        self._s = DispersionState(
            squares=s.squares + (x_c - events * q) ** 2,
            variance=s.variance + events * q * (1.0 - q),
            canary_weighted=canary,
            baseline_weighted=baseline,
            pseudo=pseudo,
        )
