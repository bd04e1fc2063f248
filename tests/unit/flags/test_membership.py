"""Why somebody has a flag or not: the bucket, the cohorts' conditions, and what only the flag system knows."""

from __future__ import annotations

import pytest

from flags.buckets import within
from flags.membership import membership
from flags.model import Cohort, Constraint, Desired, Gate

PRO = Constraint(attribute="plan", values=("pro", "max"))


def flag(percent: int, *cohorts: Cohort, gate: Gate | None = None) -> Desired:
    return Desired(percent=percent, cohorts=cohorts, gate=gate)


def test_everyone_s_share_is_by_bucket() -> None:
    """The vector of the SDKs: user-0 of new-checkout is in bucket 36."""
    found = membership("new-checkout", flag(36), "user-0", {})
    assert (found.answer, found.bucket, found.reasons[0].why) == ("in", 36, "bucket 36 is within 36 %")
    assert membership("new-checkout", flag(35), "user-0", {}).answer == "out"


def test_a_larger_share_of_a_cohort_lets_its_people_in() -> None:
    """Both shares count by one bucket, so the larger decides for whoever is in the cohort."""
    some = flag(10, Cohort(name="beta", percent=50, constraints=(PRO,)))
    assert membership("new-checkout", some, "user-0", {"plan": "pro"}).answer == "in"
    assert membership("new-checkout", some, "user-0", {"plan": "free"}).answer == "out"
    assert "not plan IN pro, max: free" in membership("new-checkout", some, "user-0", {"plan": "free"}).reasons[1].why


def test_what_nobody_told_is_a_condition() -> None:
    """A property that was not given, and a segment, which only the flag system knows."""
    unknown = membership("new-checkout", flag(0, Cohort(name="beta", percent=100, constraints=(PRO,), segment="s")), "user-0", {})
    assert unknown.answer == "unknown"
    assert unknown.reasons[1].why == (
        "if plan IN pro, max (give --property plan=...), if segment s has this person; bucket 36 is within 100 %"
    )
    assert membership("new-checkout", flag(0, Cohort(name="beta", percent=20, segment="s")), "user-0", {}).answer == "out"


@pytest.mark.parametrize(
    ("operator", "value", "answer"),
    [("STR_ENDS_WITH", "a@pro", "in"), ("STR_STARTS_WITH", "a@pro", "out"), ("NOT_IN", "pro", "out"), ("SEMVER_GT", "1.2.3", "unknown")],
)
def test_operators(operator: str, value: str, answer: str) -> None:
    """Text is compared; what is not known here is not guessed."""
    rule = Constraint(attribute="plan", values=("pro",), operator=operator)
    assert membership("g", flag(0, Cohort(name="c", percent=100, constraints=(rule,))), "u", {"plan": value}).answer == answer


def test_it_agrees_with_the_bucket_rule_on_many() -> None:
    """2,000 ids at 37 %: the same people as the rule that route and SDK share, and the gate is said."""
    gated = flag(37, gate=Gate())
    found = {f"u{i}": membership("g", gated, f"u{i}", {}) for i in range(2000)}
    assert {name for name, one in found.items() if one.answer == "in"} == {name for name in found if within("g", name, 37)}
    assert found["u0"].gate == "only on pods whose context has track=canary"
