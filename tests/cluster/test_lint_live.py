"""`linnet lint --live` on a real Prometheus that scrapes two pods: what a query returns today, and why it says nothing.

Needs the built Prometheus and no control plane.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import prometheus_client as client
import pytest
import yaml
from aiohttp import web
from click.testing import CliRunner, Result

from analyzers.metrics import parse_selector
from analyzers.sources.prometheus import PrometheusOptions, PrometheusSource
from analyzers.sources.protocol import Query, Samples
from daemon.cli.main import main
from daemon.control.http import Http
from tests.serving import serving
from tests.testbed import build
from tests.testbed.lone_prometheus import LonePrometheus

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

QUERIES = {
    "fine": "sum(rate(http_requests_total[10s]))",
    "nothing": "sum(rate(http_request_total[10s]))",
    "absent": 'sum(rate(http_requests_total{code=~"5.."}[10s])) / sum(rate(http_requests_total[10s]))',
    "nan": "sum(rate(idle_total[10s])) / sum(rate(idle_total[10s]))",
    "many": "rate(http_requests_total[10s])",
    "all": "rate(http_requests_total[10s])",
    "broken": "sum(rate(http_requests_total[10s])",
}
METRICS: list[dict[str, Any]] = [
    {"name": "errors", "ratio": {"errors": 'http_requests_total{code=~"5.."}', "total": "http_requests_total"}},
    {"name": "others", "ratio": {"errors": "unknown_total", "total": "missing_total"}},
    {"name": "recorded", "ratio": {"errors": "shop:errors:sum", "total": "shop:requests:sum"}},
]


def _template(queries: dict[str, str]) -> dict[str, Any]:
    conditions = {"all": "all(result, # >= 0)"}
    metrics = [
        {"name": name, "provider": {"prometheus": {"query": query}}, "successCondition": conditions.get(name, "result[0] >= 0")}
        for name, query in queries.items()
    ]
    return {"apiVersion": "linnet.dev/v1alpha1", "kind": "AnalysisTemplate", "metadata": {"name": "t"}, "spec": {"metrics": metrics}}


def _canary() -> dict[str, Any]:
    spec = {"workloadRef": {"name": "web"}, "analysis": {"metrics": METRICS}}
    return {"apiVersion": "linnet.dev/v1alpha1", "kind": "Canary", "metadata": {"name": "web", "namespace": "shop"}, "spec": spec}


async def _lint(folder: Path, url: str, *bodies: dict[str, Any], more: tuple[str, ...] = ()) -> tuple[Result, dict[str, str]]:
    """The command as a user runs it; of each finding the last part of its place, and why."""
    file = folder / "given.yaml"
    file.write_text(yaml.safe_dump_all(bodies))
    done = await asyncio.to_thread(CliRunner().invoke, main, ["lint", str(file), "--live", url, "-o", "json", *more])
    found = json.loads(done.stdout) if done.exit_code < 2 else []
    return done, {f["path"]: f["reason"] for f in found if f["reason"] != "ZeroByZero" and f.get("level") != "warning"}


@pytest.fixture
async def prometheus(tmp_path: Path) -> AsyncIterator[LonePrometheus]:
    """It scrapes two pods of a service without an error, and one page of recorded sums that names no pod."""
    if build.missing({"prometheus"}):
        pytest.skip("not built: prometheus: run `python -m tests.testbed.build`")
    registry = client.CollectorRegistry()
    requests = client.Counter("http_requests", "requests", ["code"], registry=registry)
    client.Counter("idle", "never used", registry=registry)

    async def page(_: web.Request) -> web.Response:
        requests.labels("200").inc(10)
        return web.Response(body=client.generate_latest(registry), headers={"Content-Type": client.CONTENT_TYPE_LATEST})

    made = LonePrometheus(tmp_path)
    rules = tmp_path / "rules.yaml"
    records = [{"record": f"shop:{name}:sum", "expr": "sum(http_requests_total)"} for name in ("requests", "errors")]
    rules.write_text(yaml.safe_dump({"groups": [{"name": "sums", "interval": "1s", "rules": records}]}))
    config = tmp_path / "prometheus.yaml"
    config.write_text(config.read_text() + yaml.safe_dump({"rule_files": [str(rules)]}))
    await made.start()
    try:
        async with serving(page) as url:
            address = url.removeprefix("http://")
            made.targets({name: (address, {"namespace": "shop"}) for name in ("web-5d9c7-x1", "web-5d9c7-x2")})
            await _until_scraped(made.url)
            yield made
    finally:
        await made.stop()


async def _until_scraped(url: str) -> None:
    """Until a rate can be taken, and the rule has recorded."""
    http = Http()
    source = PrometheusSource(PrometheusOptions(url=url), http)
    try:
        async with asyncio.timeout(90):
            while True:
                queries = [Query(selector=parse_selector(name)) for name in ("http_requests_total", "shop:errors:sum")]
                found = await source.fetch(queries, at=time.time(), window=9.0, deadline=5.0)
                if all(isinstance(o, Samples) and min(len(s.samples) for s in o.series) >= 4 for o in found):
                    return
                await asyncio.sleep(0.3)
    finally:
        await http.close()


async def test_what_queries_return_today_is_said_of_each(prometheus: LonePrometheus, tmp_path: Path) -> None:
    """Sound ones are silent; of the others each has its own reason, its file and its line, and the code is 1."""
    done, found = await _lint(tmp_path, prometheus.url, _template(QUERIES), _canary())
    places = {name: f"spec.metrics[{i}].provider.prometheus.query" for i, name in enumerate(QUERIES)}
    assert done.exit_code == 1, done.output
    assert found == {
        places["nothing"]: "NothingToday",
        places["absent"]: "AbsentErrors",
        places["nan"]: "NaNToday",
        places["many"]: "ManySeries",
        places["broken"]: "BadQuery",
        "spec.analysis.metrics[1]": "NothingToday",
        "spec.analysis.metrics[2]": "AggregatedCounter",
    }
    warned = [f for f in json.loads(done.stdout) if f.get("level") == "warning" and f["path"] == "spec.analysis.metrics[0]"]
    assert [f["reason"] for f in warned] == ["AbsentErrors"]
    done, found = await _lint(tmp_path, prometheus.url, _template({"fine": QUERIES["fine"], "all": QUERIES["all"]}))
    assert (done.exit_code, found) == (0, {}), done.output


async def test_args_are_what_a_release_would_give(prometheus: LonePrometheus, tmp_path: Path) -> None:
    """Without a value the query cannot be asked; with one it is that query."""
    body = _template({"one": 'sum(http_requests_total{namespace="{{args.where}}"})'})
    body["spec"]["args"] = [{"name": "where"}]
    done, found = await _lint(tmp_path, prometheus.url, body)
    assert (done.exit_code, list(found.values())) == (1, ["ArgMissing"]), done.output
    done, found = await _lint(tmp_path, prometheus.url, body, more=("--arg", "where=shop"))
    assert (done.exit_code, found) == (0, {}), done.output
    done, found = await _lint(tmp_path, prometheus.url, body, more=("--arg", "where=elsewhere"))
    assert (done.exit_code, list(found.values())) == (1, ["NothingToday"]), done.output


async def test_a_clock_an_hour_off_is_wrong_and_a_server_that_is_away_is_no_answer(tmp_path: Path) -> None:
    """The first would make every sample one of another time; of the second nothing is known, and the code is 2."""

    async def answer(_: web.Request) -> web.Response:
        body = {"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": [1, "1"]}]}}
        return web.json_response(body, headers={"Date": formatdate(time.time() + 3600, usegmt=True)})

    async with serving(answer) as url:
        done, found = await _lint(tmp_path, url, _template({"fine": QUERIES["fine"]}))
    assert (done.exit_code, list(found.values())) == (1, ["ClockSkew"]), done.output
    done, _ = await _lint(tmp_path, url, _template({"fine": QUERIES["fine"]}))
    assert done.exit_code == 2
    assert "cannot be asked" in done.stderr
