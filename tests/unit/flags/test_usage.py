"""What counts of evaluations say of a flag, and what they must never say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flags.model import Evaluations
from flags.plan import Mode
from flags.unleash_view import evaluations
from flags.usage import Bounds, Count, bounds, grown, judged, together

COUNTS = st.builds(Count, st.integers(0, 10**6), st.integers(0, 10**6))
ROW = {"featureName": "new", "appName": "shop", "environment": "production", "timestamp": "t1", "yes": 44, "no": 56}


def of(app: str, hour: str, yes: int, no: int) -> Evaluations:
    return Evaluations(app=app, hour=hour, yes=yes, no=no)


def test_rows_of_another_environment_and_empty_ones_are_no_evaluations() -> None:
    """Unleash fills in combinations that nobody reported."""
    rows = [ROW, ROW | {"environment": "development"}, ROW | {"timestamp": "t0", "yes": 0, "no": 0}]
    assert list(evaluations(rows, "production")) == [of("shop", "t1", 44, 56)]


def test_growth_is_by_app_and_over_the_turn_of_the_hour() -> None:
    """What was there before does not count; an hour that is new does; one that left the answer takes nothing back."""
    before = [of("shop", "h1", 10, 10), of("shop", "h0", 5, 5)]
    after = [of("shop", "h1", 14, 11), of("shop", "h2", 3, 0), of("mail", "h2", 0, 9)]
    assert grown(before, after) == {"shop": Count(7, 1), "mail": Count(0, 9)}
    assert grown(after, after) == {}


@given(st.dictionaries(st.sampled_from("ab"), COUNTS), st.dictionaries(st.sampled_from("bc"), COUNTS))
def test_adding_up_loses_nothing(one: dict[str, Count], other: dict[str, Count]) -> None:
    """Whichever app was in which reading."""
    both = together(one, other)
    assert sum(c.all for c in both.values()) == sum(c.all for c in (*one.values(), *other.values()))


@pytest.mark.parametrize(
    ("mode", "everyone", "most", "weight", "low", "high"),
    [
        ("Independent", 10, 10, 20, 0.1, 0.1),
        ("Independent", 10, 50, 20, 0.1, 0.5),
        ("Gated", 50, 50, 20, 0.1, 0.5),
        ("Gated", 0, 100, 5, 0.0, 1.0),
        ("Aligned", 10, 10, 10, 0.1, 1.0),
    ],
)
def test_what_is_to_be_expected(mode: Mode, everyone: int, most: int, weight: int, low: float, high: float) -> None:
    """Old pods may ask for the flag or not, so that what the canary evaluates is between its share of traffic and all."""
    found = bounds(mode, everyone, most, weight)
    assert found.low == pytest.approx(low)
    assert (found.high, found.mixed) == (high, mode == "Gated")


GATED = Bounds(low=0.2, high=1.0, mixed=True)
TENTH = Bounds(low=0.1, high=0.1)


@pytest.mark.parametrize(
    ("expected", "counts", "found"),
    [
        (GATED, {}, "NoExposure"),
        (GATED, {"shop": Count(0, 99)}, "Counting"),  # by chance, where 20 of a hundred should be
        (GATED, {"shop": Count(0, 100)}, "NoExposure"),
        (GATED, {"shop": Count(1, 10**6)}, "Confirmed"),
        (GATED, {"shop": Count(3, 0), "mail": Count(0, 10**6)}, "Confirmed"),  # another app never has the track
        (Bounds(low=0.1, high=0.5, mixed=True), {"shop": Count(900, 100)}, "ExposureMismatch"),
        (Bounds(low=0.1, high=0.5, mixed=True), {"shop": Count(30, 970)}, "Confirmed"),  # stable pods ask too, in what share nobody knows
        (Bounds(low=0.0, high=1.0, mixed=True), {"shop": Count(0, 999)}, "Counting"),
        (Bounds(low=0.0, high=1.0, mixed=True), {"shop": Count(0, 1000)}, "NoExposure"),  # a cohort of whom nobody came
        (TENTH, {"shop": Count(10, 90)}, "Counting"),
        (TENTH, {"shop": Count(110, 890)}, "Confirmed"),
        (TENTH, {"shop": Count(300, 700)}, "ExposureMismatch"),
        (TENTH, {"shop": Count(110, 890), "mail": Count(1, 5000)}, "ExposureMismatch"),  # one of two asks without an id
        (Bounds(low=0.01, high=0.01), {"shop": Count(20, 980)}, "Counting"),  # twice as many, of ten
    ],
)
def test_what_counts_amount_to(expected: Bounds, counts: dict[str, Count], found: str) -> None:
    """Nothing at all, too little to tell, as it should be, or plainly otherwise."""
    assert judged(counts, expected).found == found


def test_a_mismatch_names_who_is_far_off_and_counts_only_that() -> None:
    """One of two apps that asks without an id would be hidden by the other's numbers."""
    found = judged({"shop": Count(110, 890), "mail": Count(1, 5000)}, TENTH)
    assert (found.apps, found.yes, found.no) == (("mail",), 1, 5000)


@given(st.dictionaries(st.sampled_from("abc"), COUNTS, min_size=1), st.sampled_from([GATED, TENTH]))
def test_a_flag_that_somebody_met_is_never_called_unmet(counts: dict[str, Count], expected: Bounds) -> None:
    """And one that nobody met is never confirmed."""
    found = judged(counts, expected)
    if any(c.yes for c in counts.values()):
        assert found.found != "NoExposure"
    else:
        assert found.found in ("NoExposure", "Counting")


@pytest.mark.parametrize(("percent", "tolerated"), [(50, (360, 640)), (10, (130, 125))])
def test_a_share_near_what_was_set_is_no_mismatch(percent: int, tolerated: tuple[int, int]) -> None:
    """Evaluations are not users: a third more or less is nothing yet."""
    within = Bounds(low=percent / 100, high=percent / 100)
    for yes in tolerated:
        assert judged({"shop": Count(yes, 1000 - yes)}, within).found == "Confirmed"
