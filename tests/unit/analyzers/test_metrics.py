"""Selectors, presets and margins as people write them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers.errors import ConfigError
from analyzers.metrics import Matcher, MatchOp, RatioMetric, Selector, margins, parse_margin, parse_selector, traefik_arms
from analyzers.options import MetricConfig
from analyzers.stats.ratio import TOLERATED, UNACCEPTABLE, Margin


def test_a_selector_is_read_and_written_back() -> None:
    """All four operators, escapes and a trailing comma."""
    selector = parse_selector(' http_requests_total { code=~"5..", path!="/a\\"b", x="", y!~"a|b", } ')
    assert str(selector) == 'http_requests_total{code=~"5..",path!="/a\\"b",x="",y!~"a|b"}'
    assert selector.accepts({"code": "503", "path": "/"})
    assert not selector.accepts({"code": "5033", "path": "/"})
    assert not selector.accepts({"code": "503", "path": '/a"b'})
    assert not selector.accepts({"code": "503", "y": "b"})


@given(st.text(max_size=30))
def test_any_label_value_survives_the_round_trip(value: Any) -> None:
    """Quotes, backslashes and newlines in a value never break out of the query."""
    selector = Selector("m_total", (Matcher("l", MatchOp.EQUAL, value),))
    assert parse_selector(str(selector)) == selector


@pytest.mark.parametrize("text", ["", "rate(x[5m])", "sum(x)", 'x{code="1"', "x{code=1}", 'x{code~"1"}', "x{}[5m]", "1x"])
def test_what_is_no_plain_counter_is_refused(text: Any) -> None:
    """The message names the field and shows the right form."""
    with pytest.raises(ConfigError, match=r"analysis\.metrics\[0\]\.total"):
        parse_selector(text, field="analysis.metrics[0].total")


def test_a_broken_regular_expression_is_refused() -> None:
    """At the time of writing, not at the first scrape."""
    with pytest.raises(ConfigError, match="not a regular expression"):
        parse_selector('x{code=~"5("}')


@pytest.mark.parametrize(
    ("text", "ratio", "slack"),
    [("0.5pp", 1.0, 0.005), ("10%", 1.1, 0.0), ("1.1x", 1.1, 0.0), ("1.1x+0.02pp", 1.1, 0.0002), (" 25% + 0.3pp ", 1.25, 0.003)],
)
def test_margins_are_read_as_people_say_them(text: Any, ratio: Any, slack: Any) -> None:
    """Points are absolute, percent and x are relative, and + joins one of each."""
    margin = parse_margin(text, field="rollbackIfWorseBy")
    assert [margin.ratio, margin.slack] == pytest.approx([ratio, slack])


@pytest.mark.parametrize("text", ["", "5", "0.9x", "-1pp", "1pp+2pp", "1.1x+10%", "10 percent", "nanpp"])
def test_margins_that_say_nothing_clear_are_refused(text: Any) -> None:
    """A bare number could be points, percent or a factor."""
    with pytest.raises(ConfigError, match="rollbackIfWorseBy"):
        parse_margin(text, field="rollbackIfWorseBy")


def test_margins_have_defaults_and_room_between_them() -> None:
    """Stock margins; a bound derived when only one is given; a promotion bound inside the tolerance is refused."""
    assert margins(None, None) == (TOLERATED, UNACCEPTABLE)
    assert margins("0.5pp", None) == (Margin(ratio=1.0, slack=0.005), Margin(ratio=1.25, slack=0.01))
    assert margins("0.5pp", "1pp")[1] == Margin(ratio=1.0, slack=0.01)
    with pytest.raises(ConfigError, match=r"metrics\[errors\]\.promoteIfWithin .* must be wider than rollbackIfWorseBy"):
        margins("1pp", "0.5pp")


def test_traefik_tells_arms_apart_by_its_backend_service() -> None:
    """The router's own counters carry no pod of ours."""
    arms = traefik_arms({"canary": "shop-canary-80@kubernetesgateway"})
    assert arms["canary"][0].accepts({"service": "shop-canary-80@kubernetesgateway"})
    assert not arms["canary"][0].accepts({"service": "shop-80@kubernetesgateway"})


def test_a_metric_gives_the_judge_its_part() -> None:
    """Name, margins, weight and lag arrive unchanged."""
    metric = RatioMetric(name="errors", errors=Selector("e"), total=Selector("t"))
    assert metric.config(usual_rate=0.001) == MetricConfig(name="errors", usual_rate=0.001)
