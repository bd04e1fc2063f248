"""Several selectors in one query: fewer questions, and to each selector exactly the series it would have been given alone."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers.metrics import Matcher, MatchOp, Selector, parse_selector
from analyzers.series import RawSeries, Sample
from analyzers.sources.merging import merge, pick, plain, separable

ARMS = {
    "canary": 'namespace="shop",pod=~"web-canary-abc-[a-z0-9]+-[a-z0-9]+"',
    "baseline": 'namespace="shop",pod=~"(web-55555|web-44444)-[a-z0-9]+"',
}


def _arms(*counters: str) -> list[Selector]:
    return [parse_selector(c.replace("ARM", arm)) for c in counters for arm in ARMS.values()]


def test_a_ratio_over_both_arms_is_one_query() -> None:
    """Before there were four: errors and total of two arms. The errors are part of the total, and the arms differ in `pod`."""
    wanted = _arms('http_requests_total{code=~"5..",ARM}', 'http_requests_total{code!="",ARM}')
    (one,) = merge(wanted)
    assert one.members == (0, 1, 2, 3)
    assert str(one.selector).startswith('http_requests_total{code!="",namespace="shop",pod=~"(?:web-canary')


def test_counters_with_the_same_conditions_are_one_query() -> None:
    """Four metrics of both arms, eight selectors before: one question by name."""
    wanted = _arms("a_total{ARM}", "b_total{ARM}", "c_count{ARM}", "d_total{ARM}")
    (one,) = merge(wanted)
    assert one.members == tuple(range(8))
    assert str(one.selector).startswith('{__name__=~"a_total|b_total|c_count|d_total",namespace="shop",pod=~')


def test_counters_of_different_conditions_are_never_widened_to_a_whole_namespace() -> None:
    """Two names with conditions of their own stay two queries: one per metric and arm at most."""
    assert len(merge(_arms('a_failed_total{why="card",ARM}', "a_total{ARM}"))) == 2


def test_a_selector_without_conditions_stays_alone() -> None:
    """`up` and another bare counter are not asked as `{__name__=~...}`, which matches whole servers."""
    assert [str(m.selector) for m in merge([Selector("up"), Selector("down")])] == ["up", "down"]


@pytest.mark.parametrize(
    "pattern", ["5..", "web-[a-z0-9]+", r".*-svc-shop-web-[0-9]+@kubernetesgateway", "a|b", "(a|b)-c", r"10\.0\.0\.1:80", "[^a-z]x?"]
)
def test_what_reads_alike_everywhere_is_plain(pattern: str) -> None:
    """The expressions that people write for codes, pods and routes."""
    assert plain(pattern)
    assert re.compile(pattern).flags


@pytest.mark.parametrize(
    "pattern",
    ["(a+)+b", "(a|a)*", "(?=x)", "(?i)a", r"\pL", "[[:digit:]]", r"\d+", "a**", "a+?", ".*a.*b.*c.*", r"\Qa\E", "(x)\\1", "a{2}"],
)
def test_what_could_hang_us_or_means_something_else_is_not(pattern: str) -> None:
    """Loops around groups take exponential time here and not in RE2; classes and flags differ between engines."""
    assert not plain(pattern)
    assert not separable(Selector("a", (Matcher("x", MatchOp.REGEX, pattern),)))
    assert len(merge([Selector("a", (Matcher("x", MatchOp.REGEX, pattern),)), Selector("a")])) == 2


VALUES = st.sampled_from(["", "a", "b", "c"])
MATCHERS = st.builds(
    Matcher, st.sampled_from(["x", "y"]), st.sampled_from(list(MatchOp)), st.sampled_from(["a", "b", "c", "a|b", ".+", "", "", "[ab]"])
)
SELECTORS = st.lists(
    st.builds(Selector, st.sampled_from(["m", "n"]), st.lists(MATCHERS, max_size=3).map(tuple)), min_size=1, max_size=6
)  # fmt: skip
SERIES = [
    RawSeries(labels={k: v for k, v in (("__name__", name), ("x", x), ("y", y)) if v}, samples=(Sample(1.0, 1.0),))
    for name in "mn"
    for x in ("", "a", "b", "c")
    for y in ("", "a", "b", "c")
]


def _server(selector: Selector) -> list[RawSeries]:
    """What a server answers; a selector without a name has it as a condition."""
    return [s for s in SERIES if selector.accepts(s.labels) and selector.name in {"", s.labels["__name__"]}]


@given(SELECTORS)
def test_every_selector_gets_what_it_would_have_got_alone(selectors: list[Selector]) -> None:
    """Whatever is joined, with fewer or as many questions, nothing is lost and nothing of another's comes along."""
    merged = merge(selectors)
    assert len(merged) <= len(selectors)
    assert sorted(i for m in merged for i in m.members) == list(range(len(selectors)))
    for one in merged:
        answer = _server(one.selector)
        for i in one.members:
            assert list(pick(selectors[i], answer)) == _server(selectors[i])
