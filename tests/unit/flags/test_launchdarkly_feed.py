"""What LaunchDarkly's audit log says of flags that are watched, entry by entry."""

from __future__ import annotations

from typing import Any

import pytest

from flags.launchdarkly_feed import WINDOW, changes
from flags.model import Changes

HERE = "proj/shop:env/production"


def entry(identity: str, *resources: str) -> dict[str, Any]:
    return {"_id": identity, "target": {"resources": list(resources)}}


def after(*entries: dict[str, Any]) -> Changes:
    """What is new after three entries."""
    old = [entry(name, f"{HERE}:flag/old") for name in ("c", "b", "a")]
    first = changes("", old, "shop", "production")
    assert first.everything, "before the first answer nothing is known of any flag"
    return changes(first.cursor, [*entries, *old], "shop", "production")


@pytest.mark.parametrize(
    ("resource", "named"),
    [
        (f"{HERE}:flag/new", {"new"}),
        (f"{HERE}:flag/new;tag-of-it", {"new"}),
        ("proj/shop:env/*:flag/new", {"new"}),
        ("proj/shop;a-tag:env/production;critical:flag/new", {"new"}),
        ("proj/shop:env/test:flag/new", set()),
        ("proj/other:env/production:flag/new", set()),
        ("proj/shop:metric/latency", set()),
        (f"{HERE}:experiment/x", set()),
        ("member/someone", set()),
        ("acct", None),
        ("proj/shop:env/production:segment/beta", None),
        ("proj/shop:env/test:segment/beta", set()),
        ("proj/shop:env/production", None),
        ("proj/shop", None),
        ("proj/shop:env/production:flag/*", None),
        ("something else", None),
    ],
)
def test_each_resource_names_its_flag_or_none_or_any(resource: str, named: set[str] | None) -> None:
    """A flag here, nothing elsewhere, and any flag where a segment, the environment or the unknown changed."""
    found = after(entry("d", resource))
    assert found.everything is (named is None)
    assert set(found.flags) == (named or set())


def test_one_entry_may_be_about_several_flags_and_environments() -> None:
    """A new flag is in every environment at once; ours counts."""
    found = after(entry("e", "proj/shop:env/test:flag/a", f"{HERE}:flag/a"), entry("d", f"{HERE}:flag/b"))
    assert not found.everything
    assert found.flags == {"a", "b"}


def test_an_entry_that_appears_behind_others_is_not_missed() -> None:
    """New is what was not there, wherever it stands."""
    first = changes("", [entry("c", f"{HERE}:flag/fast")], "shop", "production")
    assert changes(first.cursor, [entry("c", f"{HERE}:flag/fast"), entry("b", f"{HERE}:flag/slow")], "shop", "production").flags == {"slow"}


def test_more_than_an_answer_holds_and_an_entry_about_nothing_may_concern_all() -> None:
    """A full answer without one that was known, and an entry without resources."""
    first = changes("", [entry("a", f"{HERE}:flag/x")], "shop", "production")
    full = [entry(f"n{number}", f"{HERE}:flag/y") for number in range(WINDOW)]
    assert changes(first.cursor, full, "shop", "production").everything
    assert not changes(first.cursor, [*full[1:], entry("a", f"{HERE}:flag/x")], "shop", "production").everything
    assert after({"_id": "d", "target": None}).everything
    empty = changes("", [], "shop", "production")
    assert changes(empty.cursor, full, "shop", "production").everything
    assert changes(empty.cursor, full[:3], "shop", "production").flags == {"y"}
