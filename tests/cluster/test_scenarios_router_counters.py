"""Releases of an app that nobody scrapes: the router's counters alone decide, on each gateway that is here, at the same time.

The bad release is stopped with nothing written about metrics at all, the good one promoted; a rule is put before ours and the proxy is
started anew in mid-release. What the counters say in the end, as the judge reads them, is what the load generator met, to the request.
"""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from analyzers.collector import BASELINE, CANARY, ArmTargets, resolve
from analyzers.metrics import RatioMetric
from analyzers.presets import preset_metrics
from analyzers.series import Role
from analyzers.sources.prometheus import PrometheusOptions, PrometheusSource
from daemon.control.http import Http
from daemon.control.routerarms import LABELS
from tests.cluster.scenario import ANALYSIS, API, Shop, canary
from tests.cluster.stage import Scenario, Stage
from tests.conftest import missing_parts
from tests.testbed import netns
from tests.testbed.contour import start_contour
from tests.testbed.controlplane import ADDRESS
from tests.testbed.envoy import EnvoyGateway
from tests.testbed.gateway import QUICK, Gateway
from tests.testbed.istio import GATEWAY as ISTIO
from tests.testbed.istio import start_istio
from tests.testbed.linnet import Linnet, eventually
from tests.testbed.loadgen import Load, LoadGenerator
from tests.testbed.nodes import NodeAgent
from tests.testbed.prometheus import Prometheus, start_prometheus

pytestmark = [pytest.mark.cluster, pytest.mark.dataplane]

Object = dict[str, Any]
PORT = 9093
SOURCE = {
    "apiVersion": API,
    "kind": "MetricSource",
    "metadata": {"name": "default"},
    "spec": {"type": "Prometheus", "prometheus": {"url": f"http://{ADDRESS}:{PORT}"}},
}
STEPS = [
    {"weight": 20, "dwell": {"minDuration": "1h"}},
    {"weight": 50, "dwell": {"minDuration": "1h"}},
    {"weight": 60, "dwell": {"minDuration": "2s"}},
]


def http_proxy(host: str) -> Object:
    routes = [{"conditions": [{"prefix": "/"}], "services": [{"name": "shop", "port": 80}]}]
    spec = {"virtualhost": {"fqdn": host}, "routes": routes}
    return {"apiVersion": "projectcontour.io/v1", "kind": "HTTPProxy", "metadata": {"name": "shop"}, "spec": spec}


def virtual_service(host: str) -> Object:
    http = [{"route": [{"destination": {"host": "shop", "port": {"number": 80}}}]}]
    spec = {"hosts": [host], "gateways": [ISTIO], "http": http}
    return {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "shop"}, "spec": spec}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of route: how its owner writes it, where its rules are, and a rule that sends `/old` away without asking anybody."""

    name: str
    rules: str
    away: Object
    written: Callable[[str], Object] | None = None  # None: an HTTPRoute, which is found by itself
    reports: bool = True  # what the gateway has taken

    @property
    def traffic(self) -> Object:
        if self.written is None:
            return {}
        body = self.written("")
        group = body["apiVersion"].partition("/")[0]
        return {"traffic": {"routes": [{"group": group, "kind": self.name, "name": "shop"}]}}


HTTP_ROUTE = Kind(
    name="HTTPRoute",
    rules="/spec/rules",
    away={
        "matches": [{"path": {"type": "PathPrefix", "value": "/old"}}],
        "filters": [{"type": "RequestRedirect", "requestRedirect": {"hostname": "new.test"}}],
    },
)
HTTP_PROXY = Kind(
    name="HTTPProxy",
    rules="/spec/routes",
    away={"conditions": [{"prefix": "/old"}], "requestRedirectPolicy": {"hostname": "new.test"}},
    written=http_proxy,
)
VIRTUAL_SERVICE = Kind(
    name="VirtualService",
    rules="/spec/http",
    away={"match": [{"uri": {"prefix": "/old"}}], "redirect": {"authority": "new.test"}},
    written=virtual_service,
    reports=False,
)


class _Stays(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> None:
        return None


def sent_away(shop: Shop, reached: list[Object]) -> bool:
    """The gateway has the rule for `/old`, and so this route; a question that came too early reached a backend, which counts."""

    def ask() -> int:
        question = urllib.request.Request(f"{shop.gateway.url}/old", headers={"Host": shop.host})
        try:
            with urllib.request.build_opener(_Stays).open(question, timeout=5) as answer:
                reached.append({"track": json.loads(answer.read())["track"], "outcome": str(answer.status)})
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return int(error.code)
        except OSError:
            return 0

    return 300 <= netns.call(shop.plane.netns, ask) < 400


def started_anew(gateway: Gateway | EnvoyGateway) -> None:
    if isinstance(gateway, Gateway):
        gateway.restart(QUICK)
    else:
        gateway.restart_proxy()


def scraped(shop: Shop, prometheus: Prometheus, since: float) -> None:
    """Prometheus has looked at this gateway again, so it has all that was counted until then."""
    last = f'timestamp(up{{instance="{shop.gateway.metrics}"}})'
    eventually(lambda: min((float(s["value"][1]) for s in prometheus.query(last)), default=0.0) > since, "a scrape", 60)


def counted(shop: Shop, prometheus: Prometheus, since: float) -> dict[str, tuple[int, int]]:
    """(requests, failures) of each arm since then: by the presets and labels of the judge, but added up by nobody of Linnet's."""
    metric = asyncio.run(chosen(shop))
    found = {}
    for arm in (BASELINE, CANARY):
        samples = {role: prometheus.query(f"{metric.where(role, arm, ())}[30m]") for role in metric.selectors}
        total, errors = (round(sum(grown(one["values"], since) for one in samples[role])) for role in (Role.TOTAL, Role.ERRORS))
        found[arm] = (total, errors)
    return found


async def chosen(shop: Shop) -> RatioMetric:
    """What `HTTPErrorRatio` means for this route, of all that the one Prometheus has."""
    http = Http()
    services = {BASELINE: "shop", CANARY: "shop-canary"}
    labels = {router: {arm: of(shop.namespace, service) for arm, service in services.items()} for router, of in LABELS.items()}
    try:
        source = PrometheusSource(PrometheusOptions(url=f"http://{ADDRESS}:{PORT}"), http)
        candidates = [m for m in preset_metrics("HTTPErrorRatio", router_arms=labels) if m.arm_matchers]
        found = await resolve(source, candidates, ArmTargets(name=BASELINE), now=time.time())
    finally:
        await http.close()
    assert isinstance(found.metric, RatioMetric), found.tried
    return found.metric


def grown(values: list[tuple[float, str]], since: float) -> float:
    """By how much one counter grew; a value below the one before it is of a proxy that began at zero."""
    before, growth = 0.0, 0.0
    for at, text in values:
        now = float(text)
        if at > since:
            growth += now - before if now >= before else now
        before = now
    return growth


def met(*loads: Load) -> dict[str, tuple[int, int]]:
    """The same, by what the load generator was answered."""
    sums: Counter[tuple[str, int]] = Counter()
    for record in (r for load in loads for r in load.records):
        arm = CANARY if record["track"] == "canary" else BASELINE
        sums[arm, 0] += 1
        sums[arm, 1] += record["outcome"] != "200"
    return {arm: (sums[arm, 0], sums[arm, 1]) for arm in (BASELINE, CANARY)}


def by_canary(load: LoadGenerator, least: int) -> None:
    """So many requests were answered by the canary."""
    eventually(lambda: met(load.so_far())[CANARY][0] >= least, f"{least} requests to the canary", 60)


def judged(shop: Shop) -> int:
    """Requests to the canary that the verdict rests on so far."""
    return sum(one.get("canaryTotal") or 0 for one in shop.status().get("metrics") or ())


def not_in_force(shop: Shop, gateway: EnvoyGateway) -> None:
    """Nobody tells the proxy of the next step for half a minute: the step waits, says for what, and no request counts for it."""
    gateway.stop_controller()
    shop.order("skip")

    def waits(status: Object) -> bool:
        return status["routes"][0]["wanted"] == 50 and (status.get("waiting") or {}).get("reason") == "RouteAccepting"

    shop.until(waits, "the step waits")
    time.sleep(4)  # what was counted before is given out a few ticks later
    before, until = judged(shop), time.time() + 26
    while time.time() < until:
        status = shop.status()
        assert (status["waiting"]["reason"], status["routes"][0]["accepted"]) == ("RouteAccepting", False), status["waiting"]
        assert "has not reported on generation" in status["routes"][0]["message"]
        assert judged(shop) == before
        time.sleep(1)
    gateway.start_controller()


def decided(shop: Shop, kind: Kind, gateway: Gateway | EnvoyGateway, prometheus: Prometheus) -> None:
    shop.gateway = gateway
    nothing = {"steps": STEPS, "analysis": {"interval": "1s", "warmUp": "2s"}, **kind.traffic}
    route = kind.written(shop.host) if kind.written else True
    shop.open(nothing, route=route, source=SOURCE, scrape=False)
    _stopped(shop, prometheus)
    shop.apply(canary("shop", **{**nothing, "analysis": ANALYSIS}))
    _promoted(shop, kind, prometheus)


def _stopped(shop: Shop, prometheus: Prometheus) -> None:
    """A bad version, judged by whatever is found: its owner has written nothing of metrics."""
    scraped(shop, prometheus, time.time())
    began = time.time()
    load = shop.load(80)
    eventually(lambda: load.so_far().total > 100, "requests before the release")
    shop.push("bad-30")
    status = shop.await_verdict("Fail", 120)
    seen = met(shop.stop_load())
    assert "canary requests failed" in status["sentence"], status["sentence"]
    scraped(shop, prometheus, time.time())
    found = counted(shop, prometheus, began)
    assert found[BASELINE] == seen[BASELINE]
    # A proxy forgets what it counted of a backend as soon as that is gone: up to a scrape of it.
    assert seen[CANARY][0] - 40 <= found[CANARY][0] <= seen[CANARY][0]
    assert 0 < found[CANARY][1] <= seen[CANARY][1]


def _promoted(shop: Shop, kind: Kind, prometheus: Prometheus) -> None:
    """A good version, through another rule before ours, another proxy, and a while without the proxy's controller."""
    began = time.time()
    load = shop.load(80)
    shop.push("v2")
    shop.await_weight(20)
    by_canary(load, 120)
    loads = [shop.stop_load()]
    scraped(shop, prometheus, time.time())
    shop.kubectl(
        "patch", kind.name, "shop", "--type=json", "-p", json.dumps([{"op": "add", "path": f"{kind.rules}/0", "value": kind.away}])
    )
    asked: list[Object] = []
    eventually(lambda: sent_away(shop, asked), "the other rule is in force")
    scraped(shop, prometheus, time.time())  # what it counts after its last scrape is lost with a proxy
    started_anew(shop.gateway)
    eventually(lambda: sent_away(shop, asked), "the proxy has its routes again")
    scraped(shop, prometheus, time.time())
    load = shop.load(80)
    by_canary(load, 20)
    if kind.reports and isinstance(shop.gateway, EnvoyGateway):
        not_in_force(shop, shop.gateway)
    else:
        shop.order("skip")
    shop.await_weight(50)
    by_canary(load, met(load.so_far())[CANARY][0] + 100)
    loads += [shop.stop_load(), Load(records=asked)]
    scraped(shop, prometheus, time.time())
    assert counted(shop, prometheus, began) == met(*loads)
    assert 0 < judged(shop) <= met(*loads)[CANARY][0]
    shop.load(80)
    shop.order("skip")
    status = shop.await_verdict("Pass", 150)
    assert "canary requests failed (0 %)" in status["sentence"], status["sentence"]
    after = shop.stop_load()
    assert after.outcomes() == {"200": after.total}
    shop.assert_clean()
    rules = shop.get(kind.name.lower(), "shop")["spec"][kind.rules.rpartition("/")[2]]
    assert rules[1:] == shop.before[kind.name.lower()]["body"][kind.rules.rpartition("/")[2]]


@pytest.fixture(scope="module")
def apart(linnet: Linnet, node_agent: NodeAgent, gateway: Gateway) -> Iterator[dict[str, Callable[[], None]]]:
    """One release for each gateway, all at the same time, beside no other scenario: proxies are started anew."""
    reason = missing_parts("prometheus", "contour", "contour-crds", "istiod", "istio-crds", "envoy")
    if reason:
        pytest.skip(reason)
    gateways: dict[str, tuple[Kind, Gateway | EnvoyGateway]] = {
        "Traefik": (HTTP_ROUTE, gateway),
        "Contour": (HTTP_PROXY, start_contour(linnet.plane)),
        "Istio": (VIRTUAL_SERVICE, start_istio(linnet.plane)),
    }
    envoys = [g.metrics for _, g in gateways.values() if isinstance(g, EnvoyGateway)]
    prometheus = start_prometheus(linnet.plane, gateway=gateway.metrics, envoys=envoys, port=PORT)
    stage = Stage(linnet, node_agent, gateway)

    def body(kind: Kind, one: Gateway | EnvoyGateway) -> Scenario:
        return lambda shop: decided(shop, kind, one, prometheus)

    bodies = {name: body(*given) for name, given in gateways.items()}
    for one in bodies.values():
        stage.begin(one)
    yield {name: lambda one=one: stage.await_end(one) for name, one in bodies.items()}  # type: ignore[misc]
    stage.close()
    prometheus.stop()


@pytest.mark.parametrize("name", ["Traefik", "Contour", "Istio"])
def test_the_router_s_counters_alone_decide(apart: dict[str, Callable[[], None]], name: str) -> None:
    """A bad release is taken back and a good one promoted; the sums are the load generator's through all that happens on the way."""
    apart[name]()
