"""The classics among queries of templates: found by reading, a warning each, and none for the same query done well."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from daemon.api.analysis import AnalysisTemplateSpec
from daemon.api.canary import CanarySpec
from daemon.cli.advice import advice
from daemon.cli.linting import lint

RATIO = 'sum(rate(http_requests_total{code!~"5.."}[1m])) / sum(rate(http_requests_total[1m]))'
ERRORS = 'sum(rate(http_requests_total{code=~"5.."}[1m])) / sum(rate(http_requests_total[1m]))'


def reasons(query: str, steps: list[dict[str, Any]] | None = None, **metric: Any) -> list[str]:
    body = {"metrics": [{"name": "rate", "provider": {"prometheus": {"query": query}}, **metric}]}
    users = [("web", msgspec.convert({"workloadRef": {"name": "web"}, "steps": steps}, CanarySpec))] if steps else []
    return [a.reason for a in advice(msgspec.convert(body, AnalysisTemplateSpec), users)]


def test_a_ratio_without_requests_is_warned_of() -> None:
    """Unless the template says what NaN is, or the query keeps the divisor from being zero."""
    assert reasons(RATIO, successCondition="result[0] > 0.9") == ["ZeroByZero"]
    assert reasons(RATIO, successCondition="isNaN(result[0]) || result[0] > 0.9") == []
    assert reasons(RATIO, onNoData="Failed") == []
    assert reasons(f"{RATIO} > 0") == []
    assert reasons('rate(a{path="/x/y"}[1m])') == []


def test_errors_that_do_not_exist_yet_are_warned_of() -> None:
    """The series of a status is born with the first such answer."""
    assert reasons(ERRORS, onNoData="Wait") == ["AbsentErrors"]
    assert reasons(ERRORS.replace(" / ", " or on() vector(0) / "), onNoData="Wait") == []
    assert reasons(ERRORS.replace("=~", "!~"), onNoData="Wait") == []


@pytest.mark.parametrize(
    "query", ["rate(job:http_requests:sum[1m])", "increase( ns:errors:total [5m])", "rate(sum(http_requests_total)[1m:])"]
)
def test_the_rate_of_a_sum_is_warned_of(query: str) -> None:
    """A restart of one pod looks like a reset of all."""
    assert "RateOfSum" in reasons(query)


def test_the_sum_of_rates_is_not() -> None:
    """Also where that was recorded."""
    assert reasons("sum(rate(http_requests_total[1m]))") == []
    assert reasons("job:http_requests:rate1m") == []


@pytest.mark.parametrize(
    ("window", "warned"), [("5m", True), ("2m", False), ("1d", True), ("90s", False), ("1h:30s", True), ("{{args.w}}", False)]
)
def test_a_window_longer_than_a_step_is_warned_of(window: str, warned: bool) -> None:
    """It still counts what was before the step."""
    steps = [{"weight": 10, "dwell": {"minDuration": "2m"}}, {"weight": 50, "dwell": {"minDuration": "10m"}}]
    assert reasons(f"sum(rate(a[{window}]))", steps) == (["WindowLongerThanStep"] if warned else [])


def test_a_warning_names_file_and_line_and_fails_nothing(tmp_path: Any) -> None:
    """Exit code 0: a template may mean it."""
    file = tmp_path / "t.yaml"
    file.write_text(
        "apiVersion: linnet.dev/v1alpha1\nkind: AnalysisTemplate\nmetadata: {name: t}\nspec:\n  metrics:\n  - name: rate\n"
        "    provider:\n      prometheus:\n        query: rate(a:b:sum[10m])\n---\n"
        "apiVersion: linnet.dev/v1alpha1\nkind: Canary\nmetadata: {name: web}\n"
        "spec:\n  workloadRef: {name: web}\n  steps: [{weight: 10, dwell: {minDuration: 2m}}]\n  analysis: {templates: [{name: t}]}\n"
    )
    result = CliRunner().invoke(lint, [str(file)])
    assert result.exit_code == 0, result.output
    assert f"{file}:9: AnalysisTemplate/t: spec.metrics[0].provider.prometheus.query: warning: rate() of a:b:sum" in result.output
    assert "longer than the shortest step of Canary web (2m)" in result.output
    assert "2 objects of Linnet's checked, 0 wrong" in result.output
