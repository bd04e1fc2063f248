"""What the doctor finds, and that it finds nothing where nothing is wrong."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web as http

from daemon.cli.findings import RULES
from tests.sandbox.workbench import service, web
from tests.unit.analyzers.sources import points, render, scripted
from tests.unit.cli.world import World, canary, metric_source, route, world

RBAC = Path(__file__).parents[3] / "charts" / "linnet" / "templates" / "_rbac.tpl"
HELD = {"linnet.dev/canary": "web", "linnet.dev/held": "policy"}


@asynccontextmanager
async def prometheus(series: bool = True) -> AsyncIterator[str]:
    """A Prometheus that has samples of http_requests_total, or none; and knows the names of its metrics."""

    async def query(request: http.Request) -> http.Response:
        text = (await request.post()).get("query", "")
        pods = re.search(r'namespace="([^"]+)",pod=~"\(([-a-z0-9]+)', str(text))
        labels: dict[str, str] = {"__name__": "http_requests_total", "code": "200"}
        if pods:
            labels |= {"namespace": pods[1], "pod": f"{pods[2]}-x1"}
        samples = [{"metric": labels, "values": [[1_800_000_000, "5"]]}] if series and "http_requests_total" in str(text) else []
        return http.json_response({"status": "success", "data": {"resultType": "matrix", "result": samples}})

    async def names(_: http.Request) -> http.Response:
        return http.json_response({"status": "success", "data": ["up", "a_request_bytes_total", "shop_http_answers_total", "go_threads"]})

    app = http.Application()
    app.router.add_post("/api/v1/query", query)
    app.router.add_get("/api/v1/label/__name__/values", names)
    runner = http.AppRunner(app)
    await runner.setup()
    site = http.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


async def examined(w: World) -> tuple[int, list[dict[str, Any]]]:
    done = await w.run("doctor", "-o", "json")
    return done.exit_code, json.loads(done.stdout)


def about(findings: list[dict[str, Any]], what: str) -> list[dict[str, Any]]:
    return [f for f in findings if f["what"] == what]


async def test_a_cluster_in_order_has_nothing_missing(tmp_path: Path) -> None:
    """CRDs, rights, gateway, hold, leader, source, route, metric: all OK, exit code 0."""
    async with world(tmp_path) as w, prometheus() as url:
        w.apply(service(), route(), metric_source(url), web(), canary())
        async with w.daemon():
            await w.adopted()
            code, found = await examined(w)
        assert code == 0, found
        assert {f["level"] for f in found} == {"OK"}, found
        assert any("a dry run of a template change of default/web is held" in f["message"] for f in found)
        assert any("metric errors: found http_requests_total" in f["message"] for f in found)
        done = await w.run("doctor")
        assert "0 missing or broken" not in done.output  # the daemon is gone by now
        assert "FAIL leader" in done.output


async def test_what_is_missing_is_named_with_its_way_out(tmp_path: Path) -> None:
    """No policies, no leader, a source that does not answer, a notifier without its Secret, a flag source without its file."""
    notifier = {
        "apiVersion": "linnet.dev/v1alpha1",
        "kind": "Notifier",
        "metadata": {"name": "slack", "namespace": "default"},
        "spec": {"urlSecretRef": {"name": "slack", "key": "url"}},
    }
    flags = {
        "apiVersion": "linnet.dev/v1alpha1",
        "kind": "FlagSource",
        "metadata": {"name": "default", "namespace": "default"},
        "spec": {"type": "Flagd", "flagd": {"configMapRef": {"name": "flags", "key": "flags.json"}}},
    }
    async with world(tmp_path, policies=False) as w:
        w.apply(service(), route(), metric_source("http://127.0.0.1:9"), web(), canary(flags=[{"name": "new"}]), notifier, flags)
        await w.bench.until(w.bench.rolled_out, "rolled out")
        code, found = await examined(w)
        assert code == 1
        assert "missing: mutatingadmissionpolicies/linnet-hold" in about(found, "hold")[0]["message"]
        assert about(found, "hold")[0]["wayOut"].startswith("install the chart's rules of the hold")
        assert about(found, "leader")[0]["level"] == "FAIL"
        assert "Unreachable" in about(found, "MetricSource linnet-system/default")[0]["message"]
        assert "Secret default/slack does not exist" in about(found, "Notifier default/slack")[0]["message"]
        said = " ".join(f["message"] for f in about(found, "Canary default/web") if f["level"] == "FAIL")
        assert "ConfigMap default/flags does not exist" in said


async def test_a_source_for_templates_is_asked_as_templates_ask_it(tmp_path: Path) -> None:
    """And where such a server was never seen to run, the doctor repeats what the reference says of it."""
    keys = {"apiKeySecretRef": {"name": "dd", "key": "a"}, "applicationKeySecretRef": {"name": "dd", "key": "b"}}
    async with scripted() as graphite, scripted() as datadog, world(tmp_path) as w:
        graphite.body, datadog.body = render([1.0]), points([1.0])
        spec = {"graphite": {"type": "Graphite", "graphite": {"url": graphite.url}}}
        spec["datadog"] = {"type": "Datadog", "datadog": {"url": datadog.url, **keys}}
        for name, own in spec.items():
            meta = {"name": name, "namespace": "default"}
            w.apply({"apiVersion": "linnet.dev/v1alpha1", "kind": "MetricSource", "metadata": meta, "spec": own})
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "dd", "namespace": "default"},
            "data": {"a": "YQ==", "b": "Yg=="},
        }
        w.apply(secret)
        _, found = await examined(w)
        assert [f["message"] for f in about(found, "MetricSource default/graphite")] == ["answers"]
        assert [f["message"] for f in about(found, "MetricSource default/datadog")] == [
            "answers (vendor model: not tried on a running server)"
        ]
        datadog.status = 403
        _, found = await examined(w)
        (refused,) = about(found, "MetricSource default/datadog")
        assert refused["level"] == "FAIL"
        assert "Forbidden" in refused["message"]


async def test_a_metric_without_samples_is_answered_with_the_names_there_are(tmp_path: Path) -> None:
    """The last resort: counters of the server that speak of requests."""
    async with world(tmp_path) as w, prometheus(series=False) as url:
        w.apply(service(), route(), metric_source(url), web(), canary())
        await w.bench.until(w.bench.rolled_out, "rolled out")
        _, found = await examined(w)
        warned = next(f for f in about(found, "Canary default/web") if f["level"] == "WARN")
        assert "metric errors has no samples of the stable pods" in warned["message"]
        assert "this server has shop_http_answers_total, a_request_bytes_total" in warned["wayOut"]


async def test_a_hold_without_its_guard_is_something_to_look_at(tmp_path: Path) -> None:
    """Template changes are held, but anybody could resume them: the missing policy is named beside what works."""
    async with world(tmp_path) as w, prometheus() as url:
        w.apply(service(), route(), metric_source(url), web(), canary())
        for kind in ("validatingadmissionpolicybindings", "validatingadmissionpolicies"):
            w.bench.store.delete(f"{kind}.admissionregistration.k8s.io", "", "linnet-release", user="admin")
        async with w.daemon():
            await w.adopted()
            _, found = await examined(w)
        held, unguarded = about(found, "hold")
        assert (held["level"], unguarded["level"]) == ("OK", "WARN")
        assert "anybody may resume what is held: missing: validatingadmissionpolicies/linnet-release" in unguarded["message"]


async def test_held_without_a_leader(tmp_path: Path) -> None:
    """Each Deployment that waits for a daemon that does not live is named, with the command that frees it."""
    async with world(tmp_path) as w:
        held = web("app:v1", 1, paused=True)
        held["metadata"]["annotations"] = HELD
        w.apply(held)
        _, found = await examined(w)
        (line,) = about(found, "default/web")
        assert (line["level"], line["message"]) == ("FAIL", "is held, and no daemon lives to judge it")
        assert "linnet release deploy/web -n default" in line["wayOut"]


async def test_without_the_crds_the_rest_is_still_said(tmp_path: Path) -> None:
    """The missing kinds are named, and objects that cannot exist are not asked for."""
    async with world(tmp_path) as w:
        w.bench.store.delete("customresourcedefinitions.apiextensions.k8s.io", "", "flagsources.linnet.dev", user="admin")
        code, found = await examined(w)
        assert code == 1
        assert about(found, "CRDs")[0]["message"] == "missing: flagsources.linnet.dev"
        assert about(found, "gateway")[0]["level"] == "OK"


def test_the_rights_asked_for_are_the_chart_s() -> None:
    """Whoever adds a rule to the chart adds it here; the template itself is the other witness. What values switch on is not asked for."""
    text = re.sub(r"\{\{- if .*?\{\{- end \}\}\n", "", RBAC.read_text(), flags=re.DOTALL)
    body = re.search(r'define "linnet.rules" -\}\}\n(.*?)\{\{- end', text, re.DOTALL)
    assert body is not None
    granted = {(g, r, v) for rule in yaml.safe_load(body[1]) for g in rule["apiGroups"] for r in rule["resources"] for v in rule["verbs"]}
    assert {(r.group, x, v) for r in RULES for x in r.resources for v in r.verbs} == granted
