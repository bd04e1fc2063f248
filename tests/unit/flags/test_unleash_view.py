"""What is read of a flag's strategies, without any server."""

from __future__ import annotations

from itertools import permutations

from flags.unleash_view import Strategy, spare_for


def test_a_part_takes_its_own_old_strategy_however_they_are_listed() -> None:
    """Taking another part's would leave two of one title, one of them given up; a stranger's is free for whoever lacks one."""
    old = [Strategy(id=role, title=f"linnet shop/checkout#{role}") for role in ("all", "beta", "gone")]
    for listed in permutations(old):
        assert [getattr(spare_for(role, listed, {"all", "beta", "new"}), "id", None) for role in ("all", "beta", "new")] == [
            "all",
            "beta",
            "gone",
        ]
        assert spare_for("new", [s for s in listed if s.id != "gone"], {"all", "beta", "new"}) is None
