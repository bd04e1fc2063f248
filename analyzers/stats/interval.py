"""What a share may be, for people to look at while it is counted: an interval that holds at every look at once."""

from __future__ import annotations

import math
from collections.abc import Callable

PRIOR = (0.5, 4.5)
"""A Beta around a tenth: tight where shares are small, which is where errors are."""


def confidence_sequence(events: float, total: float, *, error: float = 0.05, phi: float = 1.0) -> tuple[float, float]:
    """Ends of an anytime-valid interval for a constant share, as fractions.

    Null: the share is p. The mixture likelihood ratio over a Beta prior is a martingale under it (Ville): the chance that the truth is
    ever outside, at any of the looks, is at most `error`; counts are divided by the dispersion `phi` (quasi-likelihood). Units: counts in,
    fractions out. Source: Robbins (1970); Howard, Ramdas, McAuliffe & Sekhon, Time-uniform confidence sequences (2021).
    """
    if total <= 0:
        return 0.0, 1.0
    x, n = events / max(phi, 1.0), total / max(phi, 1.0)
    mixed = _log_beta(PRIOR[0] + x, PRIOR[1] + n - x) - _log_beta(*PRIOR)
    limit = math.log(1.0 / error)

    def excluded(p: float) -> bool:
        return mixed - x * math.log(p) - (n - x) * math.log1p(-p) >= limit

    centre = min(max(x / n, 1e-9), 1.0 - 1e-9)
    return _end(excluded, 1e-12, centre), _end(excluded, 1.0 - 1e-12, centre)


def _end(excluded: Callable[[float], bool], far: float, near: float) -> float:
    """The border between what is excluded, at `far`, and the centre; `far` itself where nothing is."""
    if not excluded(far):
        return round(far, 9)
    for _ in range(50):
        middle = 0.5 * (far + near)
        far, near = (middle, near) if excluded(middle) else (far, middle)
    return near


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
