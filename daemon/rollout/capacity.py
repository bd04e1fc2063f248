"""How many pods a share of the traffic needs, and what share the ready pods can carry (promise P2).

The demand is measured in stable pods: what serves everything today. Both directions use the same rounding, so that a weight
that was allowed stays allowed while nothing dies.
"""

from math import ceil


def pods_for(weight: int, demand: int) -> int:
    """Canary pods needed for `weight` percent of what `demand` stable pods serve; at least one for any weight."""
    if weight <= 0 or demand <= 0:
        return 0
    return max(1, ceil(demand * weight / 100))


def weight_for(available: int, demand: int, wanted: int) -> int:
    """The largest weight up to `wanted` that `available` pods can carry."""
    if wanted <= 0 or demand <= 0 or available <= 0:
        return 0
    if available >= pods_for(wanted, demand):
        return wanted
    return min(wanted, 100 * available // demand)


def balanced(available: int, stable: int, demand: int) -> int:
    """The weight at which a canary pod has as much to do as one of stable's, where both together are fewer than the demand.

    Taking more than this from a canary that is too small would only overload what is too small as well. 0 where that is not so.
    """
    if stable <= 0 or available + stable >= demand:
        return 0
    return 100 * available // (available + stable)


def ratio_pods(share: int, demand: int) -> int:
    """Canary pods so that pods / pods is the nearest share not below `share` percent; stable keeps its size."""
    if share <= 0 or demand <= 0:
        return 0
    if share >= 100:
        return demand
    return max(1, ceil(demand * share / (100 - share)))


def ratio_share(canary: int, stable: int) -> int:
    """The share that pods / pods gives, in percent."""
    return round(100 * canary / (canary + stable)) if canary + stable else 0


def settle_sizes(new: int, old: int, replicas: int, surge: int) -> tuple[int, int]:
    """Next sizes (new, old) of two active ReplicaSets of a paused Deployment.

    The native controller scales both in proportion unless their sum is replicas + maxSurge (replicas, where the surge is 0),
    and undoes anything else; so another sum is first brought to that one, without an old pod going before a new one is there, and
    each move then shifts at most `max(1, surge)` pods (workload-traps A4).
    """
    if new >= replicas or old <= 0:
        return replicas, 0
    total = replicas + surge
    if new + old < total:
        return total - old, old
    if new + old > total:
        return new, total - new
    grown = min(total, new + max(1, surge))
    return grown, total - grown
