"""Our rule, read back: what we wrote is recognised, anything else is not."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from flags.compare import drift
from flags.flagd_owners import give_back
from flags.flagd_rules import OPERATORS, Variants, desired_of, rule_for
from flags.model import Cohort, Constraint, Desired, Gate

VARIANTS = Variants(on="on", off="off")
GATES = st.none() | st.builds(Gate, attribute=st.sampled_from(["track", "appVersion"]), value=st.sampled_from(["canary", "7f9c"]))
PLAIN = st.builds(Desired, percent=st.integers(0, 100), gate=GATES)
WORDS = st.text(min_size=1, max_size=8)
CONSTRAINTS = st.builds(
    Constraint, attribute=WORDS, values=st.lists(WORDS, min_size=1, max_size=3).map(tuple), operator=st.sampled_from(OPERATORS)
)
COHORTS = st.builds(
    Cohort, name=WORDS, percent=st.integers(0, 100), constraints=st.lists(CONSTRAINTS, min_size=1, max_size=2).map(tuple), segment=st.none()
)
UNIQUE = st.lists(COHORTS, max_size=3, unique_by=lambda cohort: cohort.name).map(tuple)
DESIRED = st.builds(Desired, percent=st.integers(0, 100), gate=GATES, cohorts=UNIQUE)


@given(desired=DESIRED)
def test_what_was_written_is_read_back(desired: Desired) -> None:
    """For every percent, gate and cohort, also through JSON."""
    assert desired_of(json.loads(json.dumps(rule_for(desired, VARIANTS))), VARIANTS) == desired


@pytest.mark.parametrize(
    "rule",
    [
        None,
        True,
        {},
        [],
        {"var": "x"},
        {"and": []},
        {"and": [True]},
        {"and": [{"==": [{"var": "track"}, "canary"]}], "or": []},
        {"and": [{"==": [{"var": "plan"}, 3]}]},
        {"and": [{"==": [{"var": "a"}, "b"]}, {"==": [{"var": "c"}, "d"]}]},
        {"and": [{"==": [{"fractional": [["on", 5], ["off", 5]]}, "on"]}]},
        {"and": [{"==": [{"fractional": [["on", 5], ["off", 95]]}, "off"]}]},
        {"and": [{"==": [{"fractional": [["on", "5"], ["off", 95]]}, "on"]}]},
        {"and": [{"==": [{"fractional": [{"cat": [{"var": "userId"}]}, ["on", 5], ["off", 95]]}, "on"]}]},
        {"==": [1, 2]},
    ],
)
def test_what_people_wrote_is_not_taken_for_ours(rule: Any) -> None:
    """Near misses included: such a rule is drift, and stays."""
    assert desired_of(rule, VARIANTS) is None


@given(found=PLAIN, expected=PLAIN)
def test_drift_is_lower_exactly_when_less_is_exposed(found: Desired, expected: Desired) -> None:
    """Equal means none; with the same gate the percent decides."""
    direction = drift(found, expected)
    assert (direction is None) == (found == expected)
    if found.gate == expected.gate and direction is not None:
        assert direction == ("lower" if found.percent < expected.percent else "higher")


@given(wrote=DESIRED)
def test_what_was_written_is_no_drift(wrote: Desired) -> None:
    """And a cohort that a person lowered is the brake, whatever else they raised."""
    assert drift(wrote, wrote) is None
    lowered = tuple(replace(cohort, percent=0) for cohort in wrote.cohorts)
    if any(cohort.percent for cohort in wrote.cohorts):
        assert drift(replace(wrote, percent=100, cohorts=lowered), wrote) == "lower"


def _entry(manager: str, *keys: str) -> dict[str, Any]:
    fields: dict[str, Any] = {"f:data": {f"f:{key}": {} for key in keys}} if keys else {"f:metadata": {}}
    return {"manager": manager, "operation": "Apply", "apiVersion": "v1", "fieldsV1": fields}


def _object(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"resourceVersion": "7", "managedFields": list(entries)}}


OWNER = {"manager": "helm", "operation": "Apply", "apiVersion": "v1"}


def test_owners_are_not_given_back_over_the_head_of_somebody_who_wrote_since() -> None:
    """The key is theirs now."""
    assert give_back(_object(_entry("kubectl-edit", "f"), _entry("linnet")), ("f:data", "f:f"), "linnet", [OWNER]) == []


def test_an_owner_whose_entry_vanished_gets_it_again() -> None:
    """It owned nothing else, so the API server dropped it."""
    patch = give_back(_object(_entry("linnet", "f")), ("f:data", "f:f"), "linnet", [OWNER])
    assert patch[0] == {"op": "test", "path": "/metadata/resourceVersion", "value": "7"}
    assert [entry["manager"] for entry in patch[1]["value"]] == ["helm"]
    assert "f:f" in patch[1]["value"][0]["fieldsV1"]["f:data"]


def test_a_key_that_had_no_owner_or_was_ours_needs_nothing_but_our_leaving() -> None:
    """What Linnet itself created stays Linnet's."""
    assert give_back(_object(_entry("linnet", "f")), ("f:data", "f:f"), "linnet", [{**OWNER, "manager": "linnet"}]) == []
    assert give_back(_object(), ("f:data", "f:f"), "linnet", [OWNER]) == []
