"""Faults in the requests that are picked for the canary before its first weight: who gets it without being meant, and who keeps it."""

from __future__ import annotations

from tests.mutants.model import Mutant

_CORE = "tests/unit/rollout/test_picks.py"
_ROUTE = "tests/unit/traffic/test_routers.py"

MUTANTS = (
    Mutant(
        name="an-abort-sees-weights-alone",
        protects="P3 of matched requests",
        path="daemon/rollout/rollback.py",
        old="    return not any(r.exposes() for r in turn.seen.routes)",
        new="    return not any(r.weight for r in turn.seen.routes)",
        test=f"{_CORE}::test_an_abort_takes_the_match_away_before_anything_else",
    ),
    Mutant(
        name="a-taken-match-is-written-again",
        protects="P8 of matched requests",
        path="daemon/rollout/promotion.py",
        old="        if picked is not None:\n            return picked\n",
        new="",
        test=f"{_CORE}::test_a_match_that_somebody_took_is_seen_and_not_fought_over",
    ),
    Mutant(
        name="the-pick-outlives-its-step",
        protects="a match lasts until the next weight",
        path="daemon/rollout/steps.py",
        old="pick = None if step.weight is not None else pick_of(step) or pick",
        new="pick = pick_of(step) or pick",
        test=f"{_CORE}::test_matched_requests_reach_the_canary_for_their_time_and_then_the_weight_takes_their_place",
    ),
    Mutant(
        name="our-rule-is-removed-where-it-was",
        protects="rules that moved are never removed blindly",
        path="daemon/traffic/picking.py",
        old='        operations += [test(f"{rules.path}/{place}", rule), remove(f"{rules.path}/{place}")]',
        new='        operations += [remove(f"{rules.path}/{place}")]',
        test=f"{_ROUTE}::test_rules_of_ours_are_put_away_where_they_are_now",
    ),
    Mutant(
        name="our-rule-outweighs-another",
        protects="no request is taken from another rule",
        path="daemon/traffic/picking.py",
        old="        if number not in places and any(_between(base, rank, mine, tie=False) for rank in rules.ranks(rule)):\n",
        new="        if False:\n",
        test=f"{_ROUTE}::test_no_request_is_taken_from_another_rule",
    ),
)
