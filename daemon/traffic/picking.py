"""Rules of ours beside the owner's: copies of those that name the stable Service, for the requests that a step picks out.

They stand at the end of the list, so that no index of the owner's changes, and win by saying more than the rule that they were copied
from. What they look like follows from the route and the pick alone: what is found is compared with that, and never read back. A rule is
ours when it sends to the canary's Service and to no other, or copies to it, in a route of a release that picks: preflight sees to it that
no such rule was there before. Pure: objects in, operations of a JSON Patch out.
"""

import copy
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from daemon.api.status import RestoreEntry
from daemon.kube.objects import untyped
from daemon.kube.patch import Operation, add, lookup, remove, test
from daemon.rollout.pick import ELSE, Pick
from daemon.traffic.dialect import Dialect, Rank, Rule, Rules, Split, names_service, twin_of
from daemon.traffic.router import RouteObject, Scope


def picks_here(dialect: Dialect, scope: Scope, undo: Iterable[RestoreEntry] = ()) -> bool:
    """Whether rules of ours may be in this route: its release wants some, or the undo log tells of them."""
    return dialect.rules is not None and (bool(scope.picks or scope.buckets) or any(e.pointer == dialect.rules.path for e in undo))


def all_rules(rules: Rules, route: RouteObject) -> list[Rule]:
    found: list[Rule] = lookup({"spec": untyped(route.spec) or {}}, rules.path, None) or []
    return found


def is_ours(dialect: Dialect, rule: Rule, scope: Scope) -> bool:
    """Whether all that a rule does for the canary's Service is ours: it has all of it, or copies."""
    rules = dialect.rules
    if rules is None:
        return False
    backends = [b for b in rule.get(rules.backends) or () if not (dialect.aside and b.get(dialect.aside))]
    alone = bool(backends) and all(names_service(dialect, b, scope.canary, scope) for b in backends)
    return alone or scope.canary in rules.copies(rule)


def ours(dialect: Dialect, route: RouteObject, scope: Scope) -> list[tuple[int, Rule]]:
    """With their places."""
    found = all_rules(dialect.rules, route) if dialect.rules is not None else []
    return [(n, rule) for n, rule in enumerate(found) if is_ours(dialect, rule, scope)]


def rules_for(dialect: Dialect, splits: Sequence[Split], route: RouteObject, scope: Scope, pick: Pick) -> list[Rule]:
    """What `pick` comes to in this route, in the order of its rules."""
    rules = dialect.rules
    if rules is None:
        return []
    owned = all_rules(rules, route)
    found = []
    for split in splits:
        place = split.path.removeprefix(f"{rules.path}/").partition("/")[0]
        if not split.path.startswith(f"{rules.path}/"):
            continue  # a TCP proxy beside the rules has no requests to tell apart
        stable, canary = copy.deepcopy(split.stable), twin_of(dialect, split.stable, scope)
        for backend in (stable, canary):
            backend[dialect.weight] = 1
        made = rules.narrow(copy.deepcopy(owned[int(place)]), pick, stable, canary)
        found += [made] if made is not None else []
    return found


def picked(dialect: Dialect, splits: Sequence[Split], route: RouteObject, scope: Scope) -> str:
    """In words, what of ours is there; nothing where there is none."""
    there = [rule for _, rule in ours(dialect, route, scope)]
    if not there:
        return ""
    return next((p.words for p in scope.picks if rules_for(dialect, splits, route, scope, p) == there), ELSE)


def write(dialect: Dialect, splits: Sequence[Split], route: RouteObject, scope: Scope, pick: Pick | None) -> list[Operation]:
    """What makes our rules those of `pick`; nothing where they are."""
    rules = dialect.rules
    if rules is None:
        return []
    there = ours(dialect, route, scope)
    wanted = rules_for(dialect, splits, route, scope, pick) if pick is not None else []
    if [rule for _, rule in there] == wanted:
        return []
    operations: list[Operation] = []
    for place, rule in reversed(there):
        operations += [test(f"{rules.path}/{place}", rule), remove(f"{rules.path}/{place}")]
    return [*operations, *(add(f"{rules.path}/-", rule) for rule in wanted)]


def fault(
    dialect: Dialect, splits: Sequence[Split], route: RouteObject, others: Iterable[RouteObject], scope: Scope, picks: Iterable[Pick]
) -> tuple[str, str] | None:
    """Why one of these picks cannot be had on this route, and the way out."""
    rules = dialect.rules
    if rules is None:
        return (
            f"{scope.route} cannot tell requests apart",
            "name an HTTPRoute, an HTTPProxy or an Ingress, or take a step with a small weight",
        )
    if ours(dialect, route, scope):
        return f"{scope.route} has a rule of its own for Service {scope.canary}", "remove that rule: a match or mirror step makes its own"
    for pick in picks:
        cannot = rules.cannot(route, pick)
        if cannot:
            return f"{scope.route}: {cannot}", "ask for something that this route can tell, or take a step with a small weight"
        made = rules_for(dialect, splits, route, scope, pick)
        if not made:
            return f"none of the rules of {scope.route} can speak of {pick.words} alone", "match by another name than its rules do"
        if rules.limit and len(all_rules(rules, route)) + len(made) > rules.limit:
            full = f"{scope.route} has {len(all_rules(rules, route))} rules and may have {rules.limit}: {len(made)} more for {pick.words}"
            return f"{full} do not fit", "move rules of other Services into a route of their own"
        taken = _taken_from(rules, splits, route, others, made)
        if taken:
            return f"{scope.route}: {pick.words} would be taken from {taken}", "match by more than that rule does, or by something else"
    return None


def _taken_from(rules: Rules, splits: Sequence[Split], route: RouteObject, others: Iterable[RouteObject], made: Sequence[Rule]) -> str:
    """A rule that outweighs the stable one, and would be outweighed by ours: its requests are not ours to pick from."""
    mine = [rank for rule in made for rank in rules.ranks(rule)]
    known = all_rules(rules, route)
    places = {int(s.path.removeprefix(f"{rules.path}/").partition("/")[0]) for s in splits if s.path.startswith(f"{rules.path}/")}
    base = [rank for place in places for rank in rules.ranks(known[place])]
    for number, rule in enumerate(known):
        if number not in places and any(_between(base, rank, mine, tie=False) for rank in rules.ranks(rule)):
            return f"its rule {number + 1}"
    for other in others:
        if other.key != route.key and _shared(rules.hosts(route), rules.hosts(other)):
            for rank in (r for rule in all_rules(rules, other) for r in rules.ranks(rule)):
                if _between(base, rank, mine, tie=True):
                    return f"another of its kind, {other.namespace}/{other.name}"
    return ""


def _between(base: Iterable[Rank], rank: Rank, mine: Iterable[Rank], *, tie: bool) -> bool:
    """`tie`: of two routes with matches of the same weight the older one has it, and nobody here knows which that is."""
    above = any(b.meets(rank) and b.weight < rank.weight for b in base)
    return above and any(m.meets(rank) and (rank.weight < m.weight or (tie and rank.weight == m.weight)) for m in mine)


def _shared(one: frozenset[str], other: frozenset[str]) -> bool:
    return not one or not other or bool(one & other)


def pairs(entries: Any, name: str = "name", value: str = "value") -> Iterator[tuple[str, str]]:
    """Named conditions, as a Rank has them; names of headers are the same in any case."""
    for entry in entries or ():
        yield str(entry.get(name, "")).lower(), str(entry.get(value, ""))
