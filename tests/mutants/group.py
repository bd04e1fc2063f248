"""Faults in release groups: promoted too early, or left half-way."""

from __future__ import annotations

from tests.mutants.model import Mutant

_PURE = "tests/unit/rollout/test_group.py"

MUTANTS = (
    Mutant(
        name="a-group-promotes-what-is-ready",
        protects="groups: the barrier",
        path="daemon/rollout/group.py",
        old='if status.phase == "Progressing" and all(',
        new='if status.phase == "Progressing" and any(',
        test=f"{_PURE}::test_in_random_worlds_the_barrier_holds_and_every_abort_ends_back_or_frozen",
    ),
    Mutant(
        name="a-group-goes-back-where-one-is-promoted",
        protects="groups: what cannot go back freezes",
        path="daemon/rollout/group.py",
        old='return _enter(status, "Frozen", text[:2000], now)',
        new='return _enter(status, "RollingBack", text[:2000], now)',
        test=f"{_PURE}::test_where_one_is_promoted_the_group_freezes_and_says_so",
    ),
    Mutant(
        name="a-group-goes-back-all-at-once",
        protects="groups: back in the reverse order",
        path="daemon/rollout/group.py",
        old="or over or not any(v.exposed for v in later)",
        new="or True",
        test=f"{_PURE}::test_a_bad_member_takes_all_back_in_the_reverse_order",
    ),
)
