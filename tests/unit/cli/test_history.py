"""`linnet plan` and `linnet backtest`: what is missing is said in one line; what a plan says follows from the traffic."""

from __future__ import annotations

import base64
import json
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web as http

from tests.sandbox.workbench import service, web
from tests.unit.cli.world import Object, World, metric_source, world


@asynccontextmanager
async def prometheus(
    rate: float | None = 10.0, status: int = 200, *, authority: trustme.CA | None = None, seen: list[tuple[str, str]] | None = None
) -> AsyncIterator[str]:
    """Each pod counts `rate` requests a second, a fiftieth of which fail; None: no series at all.

    With a certificate of `authority`; who asked is put into `seen`.
    """

    async def query(request: http.Request) -> http.Response:
        if seen is not None:
            seen.append((request.headers.get("Authorization", ""), request.headers.get("X-Scope-OrgID", "")))
        text = str((await request.post()).get("query", ""))
        now = int(time.time())
        result: list[Any] = []
        if rate is not None and "http_requests_total" in text:
            for code, part in (("200", 0.98), ("500", 0.02)):
                values = [[now - 600 + k * 15, str(rate * part * k * 15)] for k in range(40)]
                result.append(
                    {
                        "metric": {"__name__": "http_requests_total", "namespace": "default", "pod": "web-1-a", "code": code},
                        "values": values,
                    }
                )
        body = {"status": "success", "data": {"resultType": "matrix", "result": result}}
        return http.json_response(body, status=status)

    app = http.Application()
    app.router.add_post("/api/v1/query", query)
    runner = http.AppRunner(app)
    await runner.setup()
    secure = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) if authority else None
    if authority is not None and secure is not None:
        authority.issue_cert("127.0.0.1").configure_cert(secure)
    await http.TCPSite(runner, "127.0.0.1", 0, ssl_context=secure).start()
    try:
        yield f"http{'s' if secure else ''}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as found:
        found.apply(service(), web("app:v1", 2))
        await found.bench.until(found.bench.rolled_out, "rolled out")
        yield found


async def test_a_plan_is_made_for_the_services_own_traffic(shop: World) -> None:
    """Requests a second and the share that fails, as the pods counted; more traffic to the canary takes fewer minutes."""
    async with prometheus() as url:
        done = await shop.run("plan", "deploy/web", "--prometheus", url, "-o", "json")
        told = await shop.run("plan", "deploy/web", "--prometheus", url)
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert found["requestsPerSecond"] == pytest.approx(10, rel=0.01)
    assert found["errorRatio"] == pytest.approx(0.02, rel=0.01)
    minutes = [one["prove_minutes"] for one in found["shares"]]
    assert len(minutes) == 5 and minutes == sorted(minutes, reverse=True)
    assert "10 requests/s, 2 % of them fail" in told.output and "an equal one is proven after" in told.output


async def test_a_metric_source_of_the_namespace_is_asked_unless_one_is_named(shop: World) -> None:
    """The same objects that the daemon asks."""
    async with prometheus() as url:
        source = metric_source(url)
        source["metadata"]["namespace"] = "default"
        shop.apply(source)
        done = await shop.run("plan", "deploy/web")
    assert done.exit_code == 0, done.output


def _guarded(url: str, authority: trustme.CA, *, admits: str = "default") -> list[Object]:
    """A MetricSource of the catalogue behind a login, a header and a certificate of its own; a Canary whose metric names it."""
    secret = {"token": b"s3same", "ca": authority.cert_pem.bytes()}
    source = metric_source(url)
    source["metadata"]["name"] = "deep"
    source["spec"]["allowedNamespaces"] = [admits]
    source["spec"]["prometheus"] |= {
        "auth": {"bearerSecretRef": {"name": "deep", "key": "token"}},
        "headers": {"X-Scope-OrgID": "shop"},
        "caSecretRef": {"name": "deep", "key": "ca"},
    }
    metrics = [{"name": "errors", "preset": "HTTPErrorRatio", "sourceRef": {"name": "deep"}}]
    spec = {"workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "analysis": {"metrics": metrics}}
    held = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "deep", "namespace": "linnet-system"}}
    canary = {"apiVersion": "linnet.dev/v1alpha1", "kind": "Canary", "metadata": {"name": "web", "namespace": "default"}, "spec": spec}
    return [source, held | {"data": {k: base64.b64encode(v).decode() for k, v in secret.items()}}, canary]


async def test_the_source_that_the_canary_names_is_asked_as_the_daemon_asks_it(shop: World, tmp_path: Path) -> None:
    """By its certificate, header and token, from the catalogue; lint as well, by its name."""
    authority = trustme.CA()
    asked: list[tuple[str, str]] = []
    async with prometheus(authority=authority, seen=asked) as url:
        shop.apply(*_guarded(url, authority))
        done = await shop.run("plan", "deploy/web")
        file = tmp_path / "canary.json"
        file.write_text(json.dumps(_guarded(url, authority)[-1]))
        linted = await shop.run("lint", str(file), "--live", "metricsource/deep", "-o", "json")
        bare = await shop.run("lint", str(file), "--live", url)
    assert done.exit_code == 0, done.output
    assert {f["reason"] for f in json.loads(linted.stdout)} <= {"NothingToday", "OtherPods"}, linted.output
    assert asked and set(asked) == {("Bearer s3same", "shop")}
    assert bare.exit_code == 2 and "certificate" in bare.output, bare.output


async def test_a_source_that_cannot_be_used_is_named_with_the_way_out(shop: World) -> None:
    """Not admitted, of no such name, without its Secret, and one of several."""
    authority = trustme.CA()
    source, secret, canary = _guarded("https://127.0.0.1:1", authority, admits="elsewhere")
    shop.apply(source, canary)
    foreign = await shop.run("plan", "deploy/web")
    shop.bench.change("metricsources.linnet.dev", "deep", lambda o: o["spec"].update(allowedNamespaces=["default"]), ns="linnet-system")
    missing = await shop.run("plan", "deploy/web")
    shop.apply(secret)
    other = await shop.run("plan", "deploy/web", "--source", "shallow")
    more = {"name": "more", "preset": "HTTPErrorRatio"}
    shop.bench.change("canaries.linnet.dev", "web", lambda o: o["spec"]["analysis"]["metrics"].append(more))
    several = await shop.run("plan", "deploy/web")
    both = await shop.run("plan", "deploy/web", "--source", "deep", "--prometheus", "http://127.0.0.1:1")
    assert "does not admit namespace default" in foreign.output
    assert "MetricSource linnet-system/deep cannot be asked: Secret linnet-system/deep does not exist" in missing.output
    assert "no metric of this Canary is asked of a MetricSource shallow: there are deep" in other.output
    assert "asked of deep, default: say which with --source NAME" in several.output
    assert [r.exit_code for r in (foreign, missing, other, several, both)] == [1, 1, 1, 1, 2]


@pytest.mark.parametrize("command", ["plan", "backtest"])
async def test_without_a_source_the_way_out_is_said(shop: World, command: str) -> None:
    """Neither guesses an address."""
    shop.bench.set_image("web", "app:v2")
    await shop.bench.until(lambda: len(shop.bench.store.list("replicasets.apps", "default")) == 2, "two ReplicaSets")
    done = await shop.run(command, "deploy/web")
    assert done.exit_code == 1
    assert "--prometheus URL" in done.output


@pytest.mark.parametrize(
    ("rate", "status", "said"),
    [(None, 200, "cannot be measured"), (0.0, 200, "no requests in the last 15 minutes"), (1.0, 503, "HTTP 503")],
    ids=["no series", "no requests", "unwell"],
)
async def test_a_plan_without_figures_says_why(shop: World, rate: float | None, status: int, said: str) -> None:
    """One line, no traceback, and never a plan for traffic that nobody saw."""
    async with prometheus(rate, status) as url:
        done = await shop.run("plan", "deploy/web", "--prometheus", url)
    assert done.exit_code == 1
    assert said in done.output, done.output


async def test_a_backtest_needs_a_release_in_the_history(shop: World) -> None:
    """A Deployment that was never changed, one that is not there, and a history that is gone."""
    async with prometheus(None) as url:
        once = await shop.run("backtest", "deploy/web", "--prometheus", url)
        nowhere = await shop.run("backtest", "deploy/nothing", "--prometheus", url)
        shop.bench.set_image("web", "app:v2")
        await shop.bench.until(lambda: len(shop.bench.store.list("replicasets.apps", "default")) == 2, "two ReplicaSets")
        gone = await shop.run("backtest", "deploy/web", "--prometheus", url)
    assert once.exit_code == 1 and "one ReplicaSet only" in once.output
    assert nowhere.exit_code == 1 and "does not exist" in nowhere.output
    assert gone.exit_code == 1 and "nothing was compared: errors" in gone.output, gone.output


@asynccontextmanager
async def remembering(odd: float = 0.01) -> AsyncIterator[str]:
    """Two hours of four pods of one version, 20 requests a second each, of which 1 % fail; `odd`: the share that fails at the first pod."""

    async def query(request: http.Request) -> http.Response:
        form = await request.post()
        at, text = float(str(form["time"])), str(form["query"])
        window = int(text.rpartition("[")[2].partition("s")[0])
        result: list[Any] = []
        if "http_requests_total" in text:
            first = int(at - window) // 15 + 1
            for pod in range(4):
                share = odd if pod == 0 else 0.01
                for code, part in (("200", 1.0 - share), ("500", share)):
                    values = [[15 * k, str(int(300 * k * part))] for k in range(first, int(at) // 15 + 1)]
                    labels = {"__name__": "http_requests_total", "namespace": "default", "pod": f"web-5d9c-{pod}", "code": code}
                    result.append({"metric": labels, "values": values})
        return http.json_response({"status": "success", "data": {"resultType": "matrix", "result": result}})

    app = http.Application()
    app.router.add_post("/api/v1/query", query)
    runner = http.AppRunner(app)
    await runner.setup()
    await http.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_a_service_judged_against_itself_is_never_rolled_back_and_tells_its_times(shop: World) -> None:
    """Pods that are alike: no mistake in any window, a proof in most, and +5 pp found sooner than a proof takes."""
    async with remembering() as url:
        done = await shop.run("aa", "deploy/web", "--prometheus", url, "--since", "2h", "--worse-by", "5", "-o", "json")
        told = await shop.run("aa", "deploy/web", "--prometheus", url, "--since", "2h", "--worse-by", "5")
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert found["leftOut"] == 1, "the first window has none before it to learn from"
    assert [t["canary_pods"] for t in found["trials"]] == [1, 2]
    for trial in found["trials"]:
        assert trial["windows"] == trial["caught"] == trial["proven"] == 3 and trial["stopped"] == 0 and trial["trusted"]
        assert 0 < trial["caught_minutes"] < trial["proven_minutes"] < 30
    assert "1 of 4 pods" in told.output and "0 of 3" in told.output and "do not speak against" in told.output


async def test_a_service_whose_pods_differ_is_told_not_to_trust_a_rollback(shop: World) -> None:
    """One pod that fails five times as often is worse than the others in every window: no chance, and the metric is named."""
    async with remembering(odd=0.25) as url:
        done = await shop.run("aa", "deploy/web", "--prometheus", url, "--since", "3h", "--window", "10m")
    assert done.exit_code == 1, done.output
    assert "no chance" in done.output and "To blame: errors" in done.output and "rollbackIfWorseBy" in done.output


async def test_too_few_windows_or_no_pods_are_refused_with_the_way_out(shop: World) -> None:
    """A span that holds one window, and a history in which nobody served."""
    async with prometheus() as url:
        short = await shop.run("aa", "deploy/web", "--prometheus", url, "--since", "30m")
        lonely = await shop.run("aa", "deploy/web", "--prometheus", url, "--since", "20m", "--window", "5m")
    assert short.exit_code == 1 and "holds 1 windows" in short.output, short.output
    assert lonely.exit_code == 1 and "nothing was compared" in lonely.output, lonely.output
