"""What the buckets of a histogram say: tails beyond each boundary, those of a slower service, and the bet on two of them.

The test of `histogram` is made of these, and so are the words that explain its verdict; none of them remembers anything.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analyzers.stats.mixture import Array

Mask = NDArray[np.bool_]

TAILS: Final = (0.002, 0.98)
"""Boundaries with more or less of the baseline beyond them say nothing in a reasonable number of requests, but see `telling`."""


def bernoulli_increment(x_c: Array, n_c: float, x_b: Array, n_b: float, p_c: Array, p_b: Array) -> Array:
    """Log of one tick's bet that the tails are (p_c, p_b) against their common value p0 = (n_c p_c + n_b p_b) / (n_c + n_b).

    Null: canary's tail <= baseline's for p_c > p_b (>= for p_c < p_b). Valid for any true, changing tails: (p0, p0) is the
    KL projection of the alternative onto the null, and for a convex null that makes E[S] <= 1; p_c and p_b only steer power, and must
    be chosen before the tick. Fractional counts are fine (Jensen). Units: requests in, nats out.
    Source: Turner, Ly & Gruenwald, Generic E-variables for k-sample tests (JSPI 2024).
    """
    p_0 = (n_c * p_c + n_b * p_b) / (n_c + n_b)
    up_c, up_b = np.log(p_c / p_0), np.log(p_b / p_0)
    down_c, down_b = np.log1p(-p_c) - np.log1p(-p_0), np.log1p(-p_b) - np.log1p(-p_0)
    bet: Array = x_c * up_c + (n_c - x_c) * down_c + x_b * up_b + (n_b - x_b) * down_b
    return bet


def survival(counts: Array) -> Array:
    """Share beyond each finite boundary, for counts per bucket (the last one is +Inf); never exactly 0 or 1."""
    tails = np.cumsum(counts[::-1])[::-1][1:]
    shares: Array = (tails + 0.5) / (counts.sum() + 1.0)
    return shares


def slower_weights(edges: Array, shape: Array, factor: float) -> tuple[Array, Mask]:
    """(weights, known): `weights @ counts` is how many requests would be beyond each boundary if all took `factor` times as long.

    x_j / factor lies inside a bucket, whose mass is divided by interpolating logit(survival) against log(x). Off by at most 0.3 pp for
    a factor 1.05 and 0.9 pp for 1.25 on a lognormal. Not known below the first boundary, where the bucket has no lower edge. `shape` is
    the baseline's survival from earlier data, so the weights are fixed before the tick and linear in its counts.
    """
    logit, places = np.log(shape / (1.0 - shape)), np.log(edges)
    targets = places - math.log(factor)
    known: Mask = targets >= places[0] - 1e-12
    inside = np.clip(np.searchsorted(places, targets, side="left"), 1, edges.size - 1)
    moved = 1.0 / (1.0 + np.exp(-np.interp(targets, places, logit)))
    upper, lower = shape[inside], shape[inside - 1]
    part = np.clip((moved - upper) / np.maximum(lower - upper, 1e-12), 0.0, 1.0)
    column = np.arange(edges.size + 1)
    weights = (column[None, :] > inside[:, None]).astype(np.float64)
    weights[np.arange(edges.size), inside] = part
    exact = np.isclose(targets, places)
    weights[exact] = (column[None, :] > np.arange(edges.size)[exact][:, None]).astype(np.float64)
    return weights, known


def telling(shape: Array) -> Mask:
    """Boundaries at which a slower canary can show in a reasonable number of requests: those with enough of the baseline beyond them,
    and the first one that the baseline hardly ever reaches, since with coarse buckets a new tail shows there and nowhere else.
    """
    fit: Mask = (shape >= TAILS[0]) & (shape <= TAILS[1])
    hardly = np.flatnonzero(shape[1:] < TAILS[0]) + 1  # what is faster than the first boundary cannot be moved
    if hardly.size:
        fit[hardly[0]] = True
    return fit


def beyond(counts: Array) -> Array:
    """Requests beyond each finite boundary, for counts per bucket (the last one is +Inf)."""
    tails: Array = np.cumsum(counts[::-1])[::-1][1:]
    return tails


def usable(canary: Array, baseline: Array, edges: int) -> bool:
    """Whether both arms have finite counts for `edges` boundaries, and requests at all."""
    return all(a.size == edges + 1 and bool(np.isfinite(a).all()) and bool((a >= 0).all()) and a.sum() > 0 for a in (canary, baseline))
