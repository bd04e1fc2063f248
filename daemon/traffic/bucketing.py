"""A weight as a share of users: a rule for their buckets, where otherwise each request would be thrown for.

A flag that goes by buckets reaches the same people again and again; a weight reaches anybody. Where both are to meet the same users the
edge puts each user's bucket into a header (`examples/buckets-envoy.lua`), and a weight of 10 becomes a rule of ours for the buckets 1 to 10,
beside backends at weight 0. Nobody and everybody need no bucket: at 0 there is no rule, and 100 is the plain weight, so that requests
without a user are served by the canary as well where there is nothing else. To the rest of Linnet it is a weight like any other: what is
read from the rule is what the route gives. Pure.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from daemon.rollout.pick import ELSE, Pick
from daemon.traffic import picking
from daemon.traffic.dialect import Dialect, Split
from daemon.traffic.router import RouteObject, Scope
from flags.buckets import BUCKETS, PATTERNS

INSTEAD: Final = "set the flag's mode to Gated or Independent, or name an HTTPRoute of Traefik or Contour, or an HTTPProxy"


def spelled(scope: Scope, weight: int, pick: Pick | None) -> tuple[int, Pick | None]:
    """The weight of the backends and the rule beside them that make this weight, on this route."""
    if not scope.buckets or pick is not None or not 0 < weight < BUCKETS:
        return weight, pick
    return 0, _rule(scope, weight)


def widest(scope: Scope) -> tuple[Pick, ...]:
    """A rule that stands for all that a release may ask of this route; none where weights are at random."""
    return (_rule(scope, BUCKETS - 1),) if scope.buckets else ()


def _rule(scope: Scope, weight: int) -> Pick:
    return Pick(buckets=weight, by=scope.buckets)


def seen(
    dialect: Dialect, splits: Sequence[Split], route: RouteObject, scope: Scope, weight: int | None, picked: str
) -> tuple[int | None, str]:
    """The weight that the route gives, and what else reaches the canary: a share at random is none that we wrote."""
    there = [rule for _, rule in picking.ours(dialect, route, scope)]
    percent = next((PATTERNS[text] for rule in there for text in _texts(rule) if text in PATTERNS), 0)
    if percent and not weight and there == picking.rules_for(dialect, splits, route, scope, _rule(scope, percent)):
        return percent, ""
    return weight, ELSE if weight and weight < BUCKETS else picked


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)
