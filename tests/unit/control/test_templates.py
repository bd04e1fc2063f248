"""Releases that threshold templates judge: promoted, stopped, held, and resumed by another daemon, on a cluster on paper."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.serving import serving
from tests.unit.analyzers.sources import flux, google_key, metric_data_values, nrql, selected, signed_in, stream
from tests.unit.control.cluster import SHOP, Object
from tests.unit.control.world import RUNS, STEPS, World, a_world, deployment, linnet, route, service
from tests.unit.control.world import canary as a_canary

TEMPLATES = "analysistemplates.linnet.dev"


class Smoke:
    """A service that says how good a release is."""

    def __init__(self) -> None:
        self.status = 200
        self.answer: Any = {"data": {"rate": 0.99}}
        self.asked: list[tuple[str, dict[str, str], str]] = []
        self.hold = False
        self.port = 0

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append((f"{request.method} {request.path_qs}", dict(request.headers), await request.text()))
        if self.hold:
            await asyncio.Event().wait()
        if isinstance(self.answer, bytes):
            return web.Response(body=self.answer, status=self.status)
        return web.json_response(self.answer, status=self.status)


@pytest.fixture
async def smoke() -> AsyncIterator[Smoke]:
    found = Smoke()
    async with serving(found.handle) as url:
        found.port = int(url.rpartition(":")[2])
        yield found


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(tmp_path, allow_addresses=("127.0.0.0/8",)) as found:
        yield found


def template(smoke: Smoke, name: str = "smoke", namespace: str = SHOP, args: list[Object] | None = None, **metric: Any) -> Object:
    """One metric, measured each second until the end."""
    web_ = {"url": f"http://127.0.0.1:{smoke.port}/run", "jsonPath": "{$.data.rate}", **metric.pop("web", {})}
    given = {"name": "success-rate", "interval": "1s", "successCondition": "result >= 0.95", "provider": {"web": web_}, **metric}
    extra = metric.pop("extra", {})
    given.pop("extra", None)
    return linnet("AnalysisTemplate", name, {"metrics": [given], **({"args": args} if args else {}), **extra}, namespace=namespace)


def judged(*uses: Object, **spec: Any) -> Object:
    """A Canary that templates alone judge; it needs no metric source."""
    return a_canary(analysis={"judge": "TemplatesOnly", "templates": list(uses) or [{"name": "smoke"}]}, **spec)


async def open_shop(world: World, *objects: Object) -> None:
    world.apply(service(), route(), deployment(), *objects)
    await world.adopted()


def run_of(world: World) -> Object:
    runs = world.store.list(RUNS, SHOP)
    return runs[0]["status"]["templates"]["runs"][0] if runs and "templates" in runs[0].get("status", {}) else {}


async def test_a_template_alone_promotes_a_release_without_any_metric_source(world: World, smoke: Smoke) -> None:
    """Judged by a web check; the sentence names the metric with its measured value."""
    await open_shop(world, template(smoke), judged())
    world.release("app:v2")
    await world.told("Promoted")
    sentence = (await world.phases("Idle"))["sentence"]
    assert "promoted after" in sentence
    assert "template smoke: success-rate measured 0.99, wanted result >= 0.95" in sentence


async def test_a_failing_template_rolls_a_release_back(world: World, smoke: Smoke) -> None:
    """The first measurement below the limit is one too many; the sentence says which metric and what it measured."""
    await open_shop(world, template(smoke), judged(steps=[{"weight": 20, "dwell": {"minDuration": "1h"}}]))
    world.release("app:v2")
    await world.weighs(20)
    smoke.answer = {"data": {"rate": 0.5}}
    await world.told("RolledBack")
    status = await world.phases("Held", "Idle")
    assert status["verdict"]["result"] == "Fail"
    assert status["verdict"]["reason"] == "CheckFailed"
    assert "template smoke: success-rate measured 0.5, wanted result >= 0.95 (1 of" in status["verdict"]["sentence"]


async def test_a_template_stops_a_release_that_the_judge_has_not_decided(world: World, smoke: Smoke) -> None:
    """Beside the statistics a template can fail a release; it cannot promote one."""
    await open_shop(
        world,
        linnet("MetricSource", "default", {"type": "Scrape", "scrape": {"port": world.pages.port}}),
        template(smoke),
        a_canary(
            analysis={"interval": "1s", "templates": [{"name": "smoke"}], "metrics": [{"name": "errors", "preset": "HTTPErrorRatio"}]},
            steps=[{"weight": 20, "dwell": {"minDuration": "1h"}}],
        ),
    )
    world.release("app:v2")
    await world.weighs(20)
    smoke.answer = {"data": {"rate": 0.1}}
    assert "template smoke: success-rate measured 0.1" in await world.told("RolledBack")


async def test_what_was_measured_survives_a_killed_daemon(tmp_path: Path, smoke: Smoke) -> None:
    """The next daemon goes on counting where the last one stopped: tolerated failures are not forgotten."""
    world = World(tmp_path)
    async with world.running():
        async with world.linnet(allow_addresses=("127.0.0.0/8",)):
            await open_shop(world, template(smoke, failureLimit=6), judged(steps=[{"weight": 20, "dwell": {"minDuration": "1h"}}]))
            world.release("app:v2")
            await world.weighs(20)
            smoke.answer = {"data": {"rate": 0.5}}
            await world.until(lambda: sum(r.get("failed", 0) for r in run_of(world).get("results", [])) > 0, "a failure is stored")
            smoke.answer = {"data": {"rate": 0.99}}
            await world.until(
                lambda: (run_of(world)["results"][0].get("measurements") or [{}])[-1].get("phase") == "Successful", "a success is stored"
            )
        before = run_of(world)["results"][0]
        async with world.linnet(allow_addresses=("127.0.0.0/8",)):
            await world.until(lambda: run_of(world)["results"][0].get("successful", 0) > before["successful"], "it is measured again")
            assert run_of(world)["results"][0]["failed"] == before["failed"]
            smoke.answer = {"data": {"rate": 0.5}}
            assert "(7 of" in await world.told("RolledBack")


async def test_an_analysis_step_waits_for_its_template(world: World, smoke: Smoke) -> None:
    """Blocking: two measurements that succeed, and then the next step; what has no data yet is waited for."""
    steps = [STEPS[0], {"analysis": {"name": "gate", "args": [{"name": "path", "value": "step"}]}}, STEPS[1]]
    gate = template(
        smoke, "gate", args=[{"name": "path"}], count=2, failureLimit=0, onNoData="Wait", successCondition="result[0] > 0.9",
        web={"url": f"http://127.0.0.1:{smoke.port}/" + "{{args.path}}", "jsonPath": "{$.gate}"},
    )  # fmt: skip
    smoke.answer = {"data": {"rate": 0.99}, "gate": None}
    await open_shop(world, template(smoke), gate, judged(steps=steps))
    world.release("app:v2")
    await world.until(lambda: "template gate: success-rate: no data" in str(world.status().get("waiting")), "it waits for the gate")
    assert world.share() == 20
    assert [a for a in smoke.asked if a[0] == "GET /step"]
    smoke.answer = {"data": {"rate": 0.99}, "gate": [0.95]}
    await world.told("Promoted")


async def test_a_template_before_the_first_step_keeps_requests_away(world: World, smoke: Smoke) -> None:
    """The canary's pods are there and no request reaches them until the check has passed; one that fails ends the release."""
    smoke.answer = {"data": {"rate": 0.1}}
    first = template(smoke, "first", count=1, web={"url": f"http://127.0.0.1:{smoke.port}/first"})
    await open_shop(world, template(smoke), first, judged({"name": "smoke"}, {"name": "first", "when": "BeforeFirstStep"}))
    world.release("app:v2")
    assert "at 0 %: template first: success-rate measured 0.1" in await world.told("RolledBack")
    assert [a[0] for a in smoke.asked] == ["GET /first"]
    await world.phases("Held", "Idle")
    smoke.answer = {"data": {"rate": 0.99}}
    world.release("app:v3")
    await world.told("Promoted")


async def test_an_inconclusive_template_leaves_it_to_the_owner(world: World, smoke: Smoke) -> None:
    """Neither condition holds: the release stays where it is and a person decides."""
    smoke.answer = {"data": {"rate": 0.8}}
    await open_shop(world, template(smoke, failureCondition="result < 0.5"), judged())
    world.release("app:v2")
    told = await world.told("Inconclusive")
    assert "template smoke: success-rate measured 0.8, wanted result >= 0.95" in told
    await world.phases("Inconclusive")
    world.say("promote")
    assert "by a person's decision" in await world.told("Promoted")


@pytest.mark.parametrize(("status", "answer"), [(500, {"data": {"rate": 0.99}}), (200, {"data": {"rate": None}}), (200, {"other": 1})])
async def test_rubbish_is_no_verdict(world: World, smoke: Smoke, status: int, answer: Any) -> None:
    """An error, null or another shape neither promotes nor fails: the owner's rule for absent data does."""
    smoke.status, smoke.answer = status, answer
    outcome = {"action": "Wait", "thenAfter": "1500ms", "then": "Rollback"}
    spec = judged()
    spec["spec"]["analysis"]["outcomes"] = {"noData": outcome, "providerError": outcome}
    await open_shop(world, template(smoke), spec)
    world.release("app:v2")
    told = await world.told("RolledBack")
    assert "the owner's answer to that is to roll back" in told
    result = (await world.phases("Held", "Idle"))["verdict"]["result"]
    assert result == "NoData"


async def test_args_come_from_secrets_and_fields_and_no_secret_is_shown(world: World, smoke: Smoke) -> None:
    """Header from the template's Secret, path from a field of the Canary; the service echoes the token, and nobody reads it."""
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "smoke", "namespace": SHOP}, "data": {"token": "c2VjcmV0LXRva2Vu"}}
    args: list[Object] = [
        {"name": "token", "valueFrom": {"secretKeyRef": {"name": "smoke", "key": "token"}}},
        {"name": "who"},
        {"name": "window", "value": "1m"},
    ]
    asks = {
        "url": f"http://127.0.0.1:{smoke.port}/check/" + "{{args.who}}?w={{args.window}}",
        "headers": [{"key": "Authorization", "value": "Bearer {{ args.token }}"}],
        "method": "POST",
        "body": '{"for": "{{args.who}}"}',
    }
    smoke.answer = {"data": {"rate": "secret-token"}}
    use = {"name": "smoke", "args": [{"name": "who", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}
    checked = template(smoke, args=args, web=asks, successCondition="result == 'fine'")
    await open_shop(world, secret, checked, judged(use))
    world.release("app:v2")
    told = await world.told("RolledBack")
    assert "measured ***" in told
    line, headers, body = smoke.asked[0]
    assert (line, headers["Authorization"], body) == ("POST /check/web?w=1m", "Bearer secret-token", '{"for": "web"}')
    assert "secret-token" not in str(world.store.list(RUNS, SHOP)) + str(world.events())


async def test_an_arg_from_a_secret_of_the_release(world: World, smoke: Smoke) -> None:
    """Read in the Canary's own namespace; a missing one is an error that names it, and no verdict."""
    use = {"name": "smoke", "args": [{"name": "token", "valueFrom": {"secretKeyRef": {"name": "mine", "key": "t"}}}]}
    checked = template(smoke, args=[{"name": "token"}], web={"headers": [{"key": "X-Token", "value": "{{args.token}}"}]})
    await open_shop(world, checked, judged(use))
    world.release("app:v2")
    await world.until(lambda: "Secret shop/mine does not exist" in str(world.status().get("waiting")), "the missing Secret is named")
    world.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mine", "namespace": SHOP}, "data": {"t": "YWJjZGVm"}})
    await world.told("Promoted")
    assert smoke.asked[0][1]["X-Token"] == "abcdef"


async def test_an_arg_of_the_release_replaces_the_template_s_own(world: World, smoke: Smoke) -> None:
    """The template's value is a default."""
    use = {"name": "smoke", "args": [{"name": "least", "value": "0.999"}]}
    checked = template(smoke, args=[{"name": "least", "value": "0.5"}], successCondition="result >= {{args.least}}")
    await open_shop(world, checked, judged(use))
    world.release("app:v2")
    assert "measured 0.99, wanted result >= 0.999" in await world.told("RolledBack")


async def test_a_step_s_args_come_from_where_the_release_says(world: World, smoke: Smoke) -> None:
    """A Secret of the Canary's namespace, and a field of the Canary, for the template of a step."""
    args = [
        {"name": "token", "valueFrom": {"secretKeyRef": {"name": "mine", "key": "t"}}},
        {"name": "stable", "valueFrom": {"fieldRef": {"fieldPath": "status.stableRevision"}}},
    ]
    gate = template(
        smoke,
        "gate",
        args=[{"name": "token"}, {"name": "stable"}],
        count=1,
        web={"url": f"http://127.0.0.1:{smoke.port}/" + "{{args.stable}}", "headers": [{"key": "X-Token", "value": "{{args.token}}"}]},
    )
    world.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mine", "namespace": SHOP}, "data": {"t": "YWJjZGVm"}})
    await open_shop(world, gate, template(smoke), judged(steps=[STEPS[0], {"analysis": {"name": "gate", "args": args}}]))
    stable = world.status()["stableRevision"]
    world.release("app:v2")
    await world.told("Promoted")
    assert [h["X-Token"] for line, h, _ in smoke.asked if line == f"GET /{stable}"] == ["abcdef"]


QUERIED = [
    (
        "Prometheus",
        "prometheus",
        {"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": [1, "0.2"]}]}},
        ("POST /api/v1/query", "query=errors+%2F+requests"),
    ),
    ("Graphite", "graphite", [{"target": "a", "datapoints": [[0.2, 1], [None, 2]]}], ("POST /render", "target=errors+%2F+requests")),
    (
        "Datadog",
        "datadog",
        {"status": "ok", "series": [{"pointlist": [[1, 0.2]]}, {"pointlist": [[1, 0.3]]}]},
        ("GET /api/v1/query?", "query=errors+/+requests"),
    ),
    ("InfluxDB", "influxdb", flux([0.2]), ("POST /api/v2/query?org=shop", '"query":"errors / requests"')),
    ("CloudWatch", "cloudWatch", json.loads(metric_data_values([0.2])), ("POST /", '"Expression":"errors / requests"')),
    ("NewRelic", "newRelic", json.loads(nrql([{"x": 1}, {"x": 2}])), ("POST /", '"nrql":"errors / requests"')),
    ("Dynatrace", "dynatrace", json.loads(selected([0.2])), ("GET /api/v2/metrics/query?", "metricSelector=errors+/+requests")),
    (
        "GoogleCloudMonitoring",
        "googleCloudMonitoring",
        json.loads(signed_in([0.2])),
        ("POST /v1/projects/shop/location/global/prometheus/api/v1/query", '"query":"errors / requests"'),
    ),
    ("Splunk", "splunk", stream([0.2]), ("POST /v2/signalflow/execute?", "errors / requests")),
]
MINE: Object = {"name": "mine", "key": "t"}
CONDITIONS = {"NewRelic": "result[1].x < 2"}
LOGINS: dict[str, Object] = {
    "Datadog": {"apiKeySecretRef": MINE, "applicationKeySecretRef": MINE},
    "InfluxDB": {"tokenSecretRef": MINE, "org": "shop"},
    "CloudWatch": {"sigV4": {"region": "eu-west-1", "accessKeySecretRef": MINE, "secretKeySecretRef": MINE}},
    "NewRelic": {"accountId": 7, "apiKeySecretRef": MINE},
    "Dynatrace": {"tokenSecretRef": MINE},
    "Splunk": {"realm": "eu0", "tokenSecretRef": MINE},
    "GoogleCloudMonitoring": {"project": "shop", "keySecretRef": MINE},
}


@pytest.mark.parametrize(("kind", "block", "answer", "wanted"), QUERIED, ids=[row[0] for row in QUERIED])
async def test_a_query_is_asked_of_the_source_that_it_names(
    world: World, smoke: Smoke, kind: str, block: str, answer: Any, wanted: tuple[str, str]
) -> None:
    """Of the MetricSource that the template names, in the server's own way; several values are a list."""
    smoke.answer = answer
    provider = {block: {"query": "errors / requests", "sourceRef": {"name": "named"}}}
    checked = template(smoke, provider=provider, successCondition=CONDITIONS.get(kind, "result[0] < 0.05"))
    server = {"url": f"http://127.0.0.1:{smoke.port}", **LOGINS.get(kind, {})}
    source = linnet("MetricSource", "named", {"type": kind, block: server})
    secret = google_key(f"http://127.0.0.1:{smoke.port}/token") if kind.startswith("Google") else "abcdef"
    data = {"t": base64.b64encode(secret.encode()).decode()}
    world.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mine", "namespace": SHOP}, "data": data})
    await open_shop(world, source, checked, judged())
    world.release("app:v2")
    told = await world.told("RolledBack")
    assert "success-rate measured [0.2" in told or kind in CONDITIONS
    assert f"wanted {CONDITIONS.get(kind, 'result[0] < 0.05')}" in told
    assert [body for line, _, body in smoke.asked if line.startswith(wanted[0]) and wanted[1] in line + body]
    said = {c["type"]: c["message"] for c in world.status()["conditions"]}.get("SourceUntried", "")
    assert said == ("" if kind in {"Prometheus", "Graphite"} else "MetricSource named is vendor model: not tried on a running server")


async def test_a_page_that_is_slow_is_given_the_time_that_the_template_says(world: World, smoke: Smoke) -> None:
    """timeoutSeconds reaches the request; past it the measurement is an error."""
    smoke.hold = True
    await open_shop(world, template(smoke, web={"timeoutSeconds": 1}), judged())
    world.release("app:v2")
    await world.until(lambda: "did not answer within 1 s" in str(world.status().get("waiting")), "the timeout is told")
    smoke.hold = False
    await world.told("Promoted")


async def test_a_range_and_an_interval_of_the_release(world: World, smoke: Smoke) -> None:
    """Flagger's form: the template has the query, the release the bounds."""
    smoke.answer = {"data": {"rate": 3}}
    use = {"name": "smoke", "interval": "1s", "thresholdRange": {"min": 1, "max": 2}}
    await open_shop(world, template(smoke, interval=None, successCondition=None), judged(use))
    world.release("app:v2")
    assert "success-rate measured 3, wanted 1 to 2" in await world.told("RolledBack")


async def test_a_dry_run_is_shown_and_decides_nothing(world: World, smoke: Smoke) -> None:
    """Measured, kept with the run, and without a say."""
    other = {"name": "new-idea", "provider": {"web": {"url": f"http://127.0.0.1:{smoke.port}/idea"}}, "successCondition": "result == 1"}
    checked = template(smoke, extra={"dryRun": [{"metricName": "new-*"}], "measurementRetention": [{"metricName": ".*", "limit": 1}]})
    checked["spec"]["metrics"].append(other)
    await open_shop(world, checked, judged())
    world.release("app:v2")
    await world.told("Promoted")
    found = await world.until(lambda: [r for r in run_of(world)["results"] if r.get("measurements")][1:], "both are stored")
    results = {r["name"]: r for r in [*found, *run_of(world)["results"]]}
    assert results["new-idea"]["failed"] == 1
    assert len(results["success-rate"]["measurements"]) == 1


async def test_a_changed_template_changes_the_next_release(world: World, smoke: Smoke) -> None:
    """The release under way is judged by what was written when it began, even where the template is gone."""
    await open_shop(world, template(smoke), judged(steps=[{"weight": 20, "dwell": {"minDuration": "3s"}}]))
    world.release("app:v2")
    await world.weighs(20)
    world.store.delete(TEMPLATES, SHOP, "smoke", user="alice")
    await world.told("Promoted")
    await world.until(lambda: "AnalysisTemplate smoke exists neither" in str(world.status().get("waiting")), "its absence is told")


async def test_a_template_of_the_catalogue_serves_whom_it_admits(world: World, smoke: Smoke) -> None:
    """One that does not admit the namespace is not found; the message says what to do."""
    shared = template(smoke, namespace="linnet-system")
    world.apply(service(), route(), deployment(), shared, judged())
    await world.until(lambda: "does not admit namespace shop" in str(world.status().get("waiting")), "it is refused")
    shared["spec"]["allowedNamespaces"] = ["shop"]
    world.apply(shared)
    await world.adopted()
    world.release("app:v2")
    await world.told("Promoted")


@pytest.mark.parametrize(
    ("use", "metric", "words"),
    [
        ({"name": "smok"}, {}, "did you mean smoke?"),
        ({"name": "smoke", "args": [{"name": "servise", "value": "a"}]}, {}, "template smoke has no arg 'servise'"),
        ({"name": "smoke", "args": [{"name": "a", "valueFrom": {"fieldRef": {"fieldPath": "other.x"}}}]}, {}, "no arg 'a'"),
        ({"name": "smoke", "when": "BeforeFirstStep"}, {}, "measures without end"),
        ({"name": "smoke"}, {"provider": {"prometheus": {"query": "up"}}}, "MetricSource default exists neither"),
    ],
)
async def test_what_cannot_be_measured_is_refused_before_anything_is_touched(
    world: World, smoke: Smoke, use: Object, metric: Object, words: str
) -> None:
    """Named with the way out, and nothing of the user's is held."""
    last = {"analysis": {"name": "last"}}
    world.apply(
        service(), route(), deployment(), template(smoke, **metric), template(smoke, "last", count=1), judged(use, steps=[*STEPS, last])
    )
    await world.until(lambda: words in str(world.status().get("waiting")), words)
    assert world.phase() == "Pending"
