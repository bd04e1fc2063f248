"""What the load generator counted becomes rows, and a saving that can be recomputed by hand."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from daemon.cli.demo import account
from daemon.cli.demo.script import DemoOptions, releases
from daemon.sandbox.load import Outcome as Answer
from tests.unit.demo.stand import COUNTS, answer

BAD = releases(DemoOptions())[1]


def test_rows_are_by_version_track_and_flag_and_a_pod_without_a_track_is_stable() -> None:
    """The user's own pods carry no track label."""
    shown = [(r.version, r.track, r.flag, r.requests, r.failed) for r in account.rows(COUNTS)]
    assert shown == [("v1", "stable", "off", 100, 0), ("v3", "canary", "on", 100, 3), ("v3", "canary", "off", 10, 0)]


def test_an_answer_by_nobody_is_a_row_of_its_own() -> None:
    """A gateway's 502 and a refused connection must not be counted for any version."""
    (row,) = account.rows({answer("", status=502): 2, Answer(error="TimeoutError"): 1})
    assert (row.version, row.track, row.flag, row.requests, row.failed) == ("", "none", "none", 3, 3)


def test_saved_is_what_everyone_would_have_met_less_what_was_met() -> None:
    """3 of 100 exposed failed; of the 1000 asked meanwhile 30 would have."""
    found = account.saved(account.rows(COUNTS), BAD, asked=1000, rate=200)
    assert (found.failed, found.would_have_failed, found.saved, found.failing_per_minute) == (3, 30, 27, 360)


def test_nothing_is_saved_where_nobody_was_exposed() -> None:
    """No division by nothing, and no invented saving."""
    found = account.saved(account.rows({answer("v1"): 5}), BAD, asked=0, rate=200)
    assert (found.would_have_failed, found.saved) == (0, 0)


def test_only_the_bad_build_behind_its_open_flag_may_fail() -> None:
    """Every other failure is counted as unexpected, that of the bad build with the flag off included."""
    counts = COUNTS + Counter({answer("v3", "canary", "off", 500): 1, answer("", status=502): 2})
    assert account.unexpected(account.rows(counts), frozenset({"v3"})) == 3
    assert account.unexpected(account.rows(COUNTS), frozenset({"v3"})) == 0
    assert account.unexpected(account.rows(COUNTS), frozenset()) == 3


ANSWERS = st.builds(
    Answer,
    version=st.sampled_from(["", "v1", "v2"]),
    track=st.sampled_from(["", "canary"]),
    flag=st.sampled_from(["on", "off"]),
    status=st.sampled_from([0, 200, 404, 500]),
)
TALLIES = st.dictionaries(ANSWERS, st.integers(1, 1000)).map(Counter)


@given(TALLIES, TALLIES)
def test_no_request_is_lost_or_counted_twice(before: Counter[Answer], more: Counter[Answer]) -> None:
    """The rows of a release add up to what was answered since it began, failures included."""
    found = account.rows(account.since(before, before + more))
    assert sum(r.requests for r in found) == more.total()
    assert sum(r.failed for r in found) == sum(n for a, n in more.items() if a.failed)
