"""From a template as it is written to what is measured: every field reaches the rules, and args fill in what they should."""

from typing import Any

import msgspec
import pytest

from analyzers.templates.errors import ArgError
from analyzers.templates.metric import Metric, OnNoData, Range
from daemon.api.analysis import AnalysisTemplateSpec, TemplateUse
from daemon.api.templates import address_problem, faults, fill, metric_of, with_use
from tests.unit.api.objects import FULL_TEMPLATE

PLAIN = {"name": "rate", "provider": {"prometheus": {"query": "up"}}}


def spec(metric: dict[str, Any] | None = None, **fields: Any) -> AnalysisTemplateSpec:
    return msgspec.convert({"metrics": [{**PLAIN, **(metric or {})}], **fields}, AnalysisTemplateSpec)


def built(metric: dict[str, Any], values: dict[str, str] | None = None, **fields: Any) -> Metric:
    found = spec(metric, **fields)
    return metric_of(found, fill(found.metrics[0], values or {}))


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"interval": "1m30s"}, {"interval": 90.0}),
        ({"initialDelay": "10s"}, {"initial_delay": 10.0}),
        ({"count": 7}, {"count": 7}),
        ({"successCondition": "result[0] < 1"}, {"success": "result[0] < 1"}),
        ({"failureCondition": "result[0] > 1"}, {"failure": "result[0] > 1"}),
        ({"thresholdRange": {"min": 1, "max": 2.5}}, {"range": Range(min=1, max=2.5)}),
        ({"failureLimit": -1}, {"failure_limit": -1}),
        ({"inconclusiveLimit": 2}, {"inconclusive_limit": 2}),
        ({"consecutiveErrorLimit": 0}, {"consecutive_error_limit": 0}),
        ({"consecutiveSuccessLimit": 3}, {"consecutive_success_limit": 3}),
        ({"onNoData": "Failed"}, {"on_no_data": OnNoData.FAILED}),
    ],
)
def test_every_field_of_a_metric_reaches_the_rules(written: dict[str, Any], expected: dict[str, Any]) -> None:
    """Each changes its own field and nothing else; what is left out has the default of the peers."""
    assert built(written) == msgspec.structs.replace(Metric(name="rate"), **expected)


def test_counts_may_come_from_args() -> None:
    """As with Argo; one that is no number is an error that names the field."""
    assert built({"count": "{{args.n}}", "interval": "1m"}, {"n": "3"}).count == 3
    with pytest.raises(ArgError, match="count of metric rate is 'many'"):
        built({"count": "{{args.n}}"}, {"n": "many"})


def test_dry_run_and_retention_go_by_name_or_pattern() -> None:
    """A bare * works, and so does the regular expression that people write instead; a part of a name does not match."""
    assert built({}, dryRun=[{"metricName": "*"}]).dry_run
    assert built({}, dryRun=[{"metricName": ".*"}]).dry_run
    assert not built({}, dryRun=[{"metricName": "rat"}]).dry_run
    assert built({}, measurementRetention=[{"metricName": "rate", "limit": 3}]).retention == 3


def test_a_release_may_say_interval_and_range_of_a_template_with_one_metric() -> None:
    """Flagger's form; the template's own conditions make way."""
    use = msgspec.convert({"name": "smoke", "interval": "30s", "thresholdRange": {"max": 1}}, TemplateUse)
    found = with_use(spec({"successCondition": "result < 5"}), use)
    metric = metric_of(found, found.metrics[0])
    assert (metric.interval, metric.range, metric.success) == (30.0, Range(max=1), None)


def test_the_full_template_is_sound() -> None:
    """The one that every field is in."""
    assert list(faults(msgspec.convert(FULL_TEMPLATE, AnalysisTemplateSpec))) == []


@pytest.mark.parametrize("url", ["http://a/", "https://a.b:8080/c?d=e", "http://10.0.0.1/x"])
def test_an_address_is_a_host_behind_http(url: str) -> None:
    """What a web check may name, as far as its text tells."""
    assert address_problem(url) is None


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "gopher://a/", "a.b/c", "http://", "http://u:p@a/", "http://a:99999/", "http://[::1"]
)
def test_what_is_no_address_is_named(url: str) -> None:
    """Refused before anything is sent."""
    assert address_problem(url)
