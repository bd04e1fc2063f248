"""What the spec says about metrics is what is asked, of whom, and what the judge is given: leaf by leaf."""

from __future__ import annotations

import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import msgspec
import pytest
import trustme
from aiohttp import web

from analyzers.collector import Collector
from analyzers.joining import Joined
from analyzers.metrics import AnyMetric, HistogramMetric, Selector
from analyzers.options import JudgeConfig, Kind, Worse
from analyzers.sources.protocol import Failure, NoData, Query
from analyzers.ticks import ArmCounts, MetricCounts
from daemon.api import names
from daemon.api.sources import SecretRef
from daemon.control import objects as ours
from daemon.control.caches import Caches
from daemon.control.catalogue import Catalogue
from daemon.control.http import Http
from daemon.control.measuring import arms, candidates, judge_config
from daemon.control.resolve import Resolver
from daemon.control.resolved import Resolved
from daemon.control.secrets import SecretMissing, SecretReader
from daemon.control.sourcing import source_of
from daemon.control.trust import TrustError
from daemon.kube.client import Client, decode
from daemon.kube.objects import Deployment, KubeObject, Pod, ReplicaSet, Service
from daemon.sandbox.store import Store
from daemon.traffic.httproute import HTTP_ROUTE
from daemon.traffic.router import RouteObject
from daemon.workloads.revisions import Templates
from tests.serving import serving
from tests.unit.control import world as w
from tests.unit.control.cluster import CATALOGUE, SHOP, Object, Pages

REVISION = "bbbbb"
NOW = 1_760_000_000.0


class Secrets(SecretReader):
    """Answers with where it was asked to look."""

    def __init__(self) -> None:
        super().__init__(cast("Client", None))

    async def read(self, namespace: str, ref: SecretRef) -> str:
        return f"{namespace}.{ref.name}.{ref.key}"


class Bench:
    """Caches with a shop in them, a canary beside it, and servers that note what they are asked."""

    def __init__(self, pages: Pages, http: Http) -> None:
        self.pages, self.http = pages, http
        self.url = f"http://127.0.0.1:{pages.port}"

    def source(self, name: str = "default", **spec: Any) -> Object:
        return w.linnet("MetricSource", name, {"type": "Prometheus", "prometheus": {"url": self.url}, **spec})

    def scrape(self, **scrape: Any) -> Object:
        return w.linnet("MetricSource", "default", {"type": "Scrape", "scrape": {"port": self.pages.port, **scrape}})

    def resolve(self, analysis: Object, *sources: Object) -> tuple[Caches, Resolved]:
        caches = Caches(cast("Client", None), (), CATALOGUE)
        for obj in (w.deployment(), w.deployment("web-canary-bbbbb"), *sources, w.service(), w.route(), w.canary(analysis=analysis)):
            self._put(caches, obj)
        for owner in ("web", "web-canary-bbbbb"):
            self._put(caches, _owned("ReplicaSet", f"{owner}-55555", "Deployment", owner))
            pod = _owned("Pod", f"{owner}-55555-x", "ReplicaSet", f"{owner}-55555")
            ports = [{"name": "side", "containerPort": self.pages.port}]
            address = "127.0.0.1" if owner == "web" else "127.0.0.2"
            status = {"phase": "Running", "podIP": address, "startTime": "2025-10-01T00:00:00Z"}
            pod |= {"spec": {"containers": [{"name": "main", "ports": ports}]}, "status": status}
            self._put(caches, pod)
        canary = caches.canaries.store.get(SHOP, "web")
        assert canary is not None
        return caches, Resolver(caches, Catalogue(caches, CATALOGUE), Templates()).resolve(canary)

    def _put(self, caches: Caches, obj: Object) -> None:
        homes: dict[str, tuple[Any, type[KubeObject]]] = {
            "Deployment": (caches.deployments, Deployment),
            "ReplicaSet": (caches.replica_sets, ReplicaSet),
            "Pod": (caches.pods, Pod),
            "Service": (caches.services, Service),
            "HTTPRoute": (caches.routes.informer(HTTP_ROUTE.resource), RouteObject),
            "Canary": (caches.canaries, ours.Canary),
            "MetricSource": (caches.metric_sources, ours.MetricSource),
        }
        informer, model = homes[obj["kind"]]
        for reflector in informer.reflectors:
            reflector.synced.set()
        if obj["metadata"]["name"].startswith("web-canary") and obj["kind"] == "Deployment":
            obj["metadata"]["labels"] = {names.OWNER: "web", names.REVISION: REVISION}
        obj["metadata"] |= {"namespace": SHOP, "uid": f"uid-of-{obj['metadata']['name']}"}
        informer.store.put(decode(model, msgspec.json.encode(obj)))

    async def ask(self, analysis: Object, *sources: Object) -> tuple[list[Any], JudgeConfig]:
        """What the servers were asked for one tick, and what the judge would be given."""
        caches, resolved = self.resolve(analysis, *sources)
        assert resolved.problems == ()
        assert resolved.sources
        chosen: dict[str, list[AnyMetric]] = {}
        for use in resolved.sources:
            for metric in use.metrics:
                first = candidates(metric, resolved)[0]
                fitted = msgspec.structs.replace(first, edges=(0.1, 0.5, 1.0)) if isinstance(first, HistogramMetric) else first
                chosen.setdefault(use.item.name, []).append(fitted)
        pairs = arms(caches, resolved, REVISION)
        assert pairs is not None
        config = judge_config(resolved, tuple(m for own in chosen.values() for m in own))
        asked = {u.item.name: await source_of(u.item, self.http, Secrets()) for u in resolved.sources}
        self.pages.asked.clear()
        collectors = {name: Collector(s, chosen[name], scrape_seconds=config.scrape_seconds) for name, s in asked.items()}
        await Joined(collectors).collect(NOW, pairs)
        return sorted(self.pages.asked, key=str), config


def _owned(kind: str, name: str, owner_kind: str, owner: str) -> Object:
    api = "v1" if kind == "Pod" else "apps/v1"
    ref = {"apiVersion": "apps/v1", "kind": owner_kind, "name": owner, "uid": owner, "controller": True}
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name, "ownerReferences": [ref]}}


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    pages, http = Pages(Store()), Http()
    async with pages.serving():
        try:
            yield Bench(pages, http)
        finally:
            await http.close()


def forms(asked: list[Any]) -> str:
    return "\n".join(form.get("query", "") for _, _, form in asked)


RATIO = {"errors": 'orders_total{state="failed"}', "total": "orders_total"}
MARGINS = {"rollbackIfWorseBy": "2pp", "promoteIfWithin": "10pp"}
RELATIVE = {"rollbackIfWorseBy": "1.1x", "promoteIfWithin": "1.25x"}
LABELS = {"stable": 'track="stable"', "canary": 'track="canary"'}


def metric(**changes: Any) -> Object:
    return {"metrics": [{"name": "errors", "ratio": RATIO, "armLabels": LABELS, **MARGINS, **changes}]}


QUERIES: list[tuple[str, Object, str, str]] = [
    ("preset", {"metrics": [{"name": "errors", "preset": "TraefikErrorRatio"}]}, "traefik_service_requests_total", "orders_total"),
    ("histogram", metric(ratio=None, histogram="latency_bucket", **RELATIVE), "latency_bucket", "orders_total"),
    ("gauge", metric(ratio=None, gauge="queue_length", **RELATIVE), "queue_length", "orders_total"),
    ("ratio.total", metric(ratio={**RATIO, "total": "carts_total"}), "carts_total", "orders_total{track"),
    ("armLabels.stable", metric(armLabels={**LABELS, "stable": 'track="old"'}), 'track=~"canary|old"', 'track=~"canary|stable"'),
    ("armLabels.canary", metric(armLabels={**LABELS, "canary": 'track="new"'}), 'track=~"new|stable"', 'track=~"canary|stable"'),
]


@pytest.mark.parametrize(("analysis", "now", "before"), [row[1:] for row in QUERIES], ids=[row[0] for row in QUERIES])
async def test_what_a_metric_says_is_what_is_asked(bench: Bench, analysis: Object, now: str, before: str) -> None:
    """Preset, counters and arm labels, each alone, change the queries that reach the server."""
    asked, _ = await bench.ask(metric(), bench.source())
    assert now not in forms(asked)
    assert before in forms(asked)
    asked, _ = await bench.ask(analysis, bench.source())
    assert now in forms(asked)
    assert before not in forms(asked)


async def test_errors_are_those_of_the_total_that_the_metric_calls_so(bench: Bench) -> None:
    """One query brings all orders of both arms; which of them are errors is told apart by `ratio.errors` alone."""
    at = [NOW - NOW % 15 - 15.0 * k for k in range(30, -1, -1)]
    bench.pages.matrix = [
        {"metric": {"__name__": "orders_total", "pod": f"{arm}-1", "track": arm, "state": state}, "values": _counting(at, each)}
        for arm in ("stable", "canary")
        for state, each in (("done", 100), ("failed", 3), ("lost", 7))
    ]
    for state, wanted in (("failed", 3), ("lost", 7)):
        caches, resolved = bench.resolve(metric(ratio={**RATIO, "errors": f'orders_total{{state="{state}"}}'}), bench.source())
        pair = (arms(caches, resolved, REVISION) or {})["default"]
        source = await source_of(_plain(bench), bench.http, Secrets())
        bench.pages.asked.clear()
        collected = await Collector(source, candidates(_metric(resolved), resolved), scrape_seconds=15.0).collect(NOW, pair)
        assert len(bench.pages.asked) == 1
        assert [t.arms["errors"] for t in collected.ticks] == [MetricCounts(ArmCounts(110, wanted), ArmCounts(110, wanted))]


def _counting(at: list[float], each: int) -> list[tuple[float, str]]:
    return [(t, str(each * k)) for k, t in enumerate(at)]


async def test_without_labels_of_its_own_an_arm_is_its_pods(bench: Bench) -> None:
    """By namespace and pod name: the canary's, and those of every ReplicaSet of stable."""
    asked, _ = await bench.ask(metric(armLabels=None), bench.source())
    assert 'pod=~"(?:web-canary-bbbbb-[a-z0-9]+-[a-z0-9]+)|(?:(web-55555)-[a-z0-9]+)"' in forms(asked)


CONFIG: list[tuple[str, Object, Any, Any]] = [
    ("name", metric(name="orders"), lambda c: c.metrics[0].name, "orders"),
    ("rollbackIfWorseBy", metric(rollbackIfWorseBy="0.1pp"), lambda c: c.metrics[0].tolerated.slack, 0.001),
    ("promoteIfWithin", metric(promoteIfWithin="7pp"), lambda c: c.metrics[0].unacceptable.slack, 0.07),
    ("lag", metric(lag="2m"), lambda c: c.metrics[0].lag, 120.0),
    ("direction", metric(direction="HigherIsBetter"), lambda c: c.metrics[0].worse, Worse.LOWER),
    ("histogram", metric(ratio=None, histogram="latency_bucket", **RELATIVE), lambda c: c.metrics[0].kind, Kind.HISTOGRAM),
    ("gauge", metric(ratio=None, gauge="queue_length", **RELATIVE), lambda c: c.metrics[0].kind, Kind.GAUGE),
    ("maxFalseRollbackPercent", {**metric(), "maxFalseRollbackPercent": 0.5}, lambda c: c.max_false_rollback_percent, 0.5),
    ("maxBadPromotionPercent", {**metric(), "maxBadPromotionPercent": 2}, lambda c: c.max_bad_promotion_percent, 2.0),
    ("interval", {**metric(), "interval": "5s"}, lambda c: c.scrape_seconds, 5.0),
    ("warmUp", {**metric(), "warmUp": "90s"}, lambda c: c.warm_up_seconds, 90.0),
]


@pytest.mark.parametrize(("analysis", "read", "wanted"), [row[1:] for row in CONFIG], ids=[row[0] for row in CONFIG])
async def test_what_the_analysis_says_is_what_the_judge_is_given(bench: Bench, analysis: Object, read: Any, wanted: Any) -> None:
    """Names, margins, risks and times, each alone, reach the judge; another test is another digest."""
    _, before = await bench.ask(metric(), bench.source())
    _, after = await bench.ask(analysis, bench.source())
    assert read(before) != wanted
    assert read(after) == wanted
    assert before.digest != after.digest


async def test_a_metric_is_asked_of_the_source_it_names(bench: Bench) -> None:
    """Of two sources, the one named; without a name, `default`."""
    sources = (bench.source(), bench.source("mimir", prometheus={"url": f"{bench.url}/mimir"}))
    asked, _ = await bench.ask(metric(), *sources)
    assert {path for path, _, _ in asked} == {"/api/v1/query"}
    asked, _ = await bench.ask(metric(sourceRef={"name": "mimir"}), *sources)
    assert {path for path, _, _ in asked} == {"/mimir/api/v1/query"}


async def test_each_metric_of_a_release_is_asked_of_its_own_source(bench: Bench) -> None:
    """Errors of the pods' own pages, orders of a Prometheus, carts of another: each is asked for its own, and for nothing else."""
    counted = [
        {"name": "errors", "ratio": {"errors": 'visits_total{code="500"}', "total": "visits_total"}, **MARGINS},
        *(
            {"name": n, "ratio": {"errors": f"{n}_bad", "total": f"{n}_total"}, "sourceRef": {"name": n}, **MARGINS}
            for n in ("orders", "carts")
        ),
    ]
    sources = (bench.scrape(), *(bench.source(n, prometheus={"url": f"{bench.url}/{n}"}) for n in ("orders", "carts")))
    asked, config = await bench.ask({"metrics": counted}, *sources)
    assert {path for path, _, _ in asked} == {"/metrics", "/orders/api/v1/query", "/carts/api/v1/query"}
    for path, _, form in asked:
        assert path == "/metrics" or path.split("/")[1] in form["query"]
        assert not ("carts" in path and "orders" in form["query"])
    assert [m.name for m in config.metrics] == ["errors", "orders", "carts"]


async def test_the_type_decides_who_is_asked(bench: Bench) -> None:
    """The same object as Prometheus and as Scrape: a server's query API, or the pods' pages."""
    both: Object = {"prometheus": {"url": bench.url}, "scrape": {"port": bench.pages.port}}
    asked, _ = await bench.ask(metric(), bench.source(**both))
    assert {path for path, _, _ in asked} == {"/api/v1/query"}
    asked, _ = await bench.ask(metric(), bench.source(**both, type="Scrape"))
    assert {path for path, _, _ in asked} == {"/metrics"}


async def test_the_url_is_where_the_query_goes(bench: Bench) -> None:
    """A path of the address is kept."""
    asked, _ = await bench.ask(metric(), bench.source(prometheus={"url": f"{bench.url}/prometheus"}))
    assert {path for path, _, _ in asked} == {"/prometheus/api/v1/query"}


def basic(user: tuple[str, str], password: tuple[str, str]) -> Object:
    return {
        "basic": {
            "usernameSecretRef": {"name": user[0], "key": user[1]},
            "passwordSecretRef": {"name": password[0], "key": password[1]},
        }
    }


def signed(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


AUTH: list[tuple[str, Object, str]] = [
    ("bearer", {"bearerSecretRef": {"name": "a", "key": "b"}}, "Bearer shop.a.b"),
    ("bearer name", {"bearerSecretRef": {"name": "z", "key": "b"}}, "Bearer shop.z.b"),
    ("bearer key", {"bearerSecretRef": {"name": "a", "key": "z"}}, "Bearer shop.a.z"),
    ("basic", basic(("a", "b"), ("c", "d")), signed("shop.a.b", "shop.c.d")),
    ("user name", basic(("z", "b"), ("c", "d")), signed("shop.z.b", "shop.c.d")),
    ("user key", basic(("a", "z"), ("c", "d")), signed("shop.a.z", "shop.c.d")),
    ("password name", basic(("a", "b"), ("z", "d")), signed("shop.a.b", "shop.z.d")),
    ("password key", basic(("a", "b"), ("c", "z")), signed("shop.a.b", "shop.c.z")),
]


@pytest.mark.parametrize(("auth", "header"), [row[1:] for row in AUTH], ids=[row[0] for row in AUTH])
async def test_the_secret_that_is_named_signs_the_query(bench: Bench, auth: Object, header: str) -> None:
    """Name and key of each Secret, each alone, change the Authorization that the server sees."""
    asked, _ = await bench.ask(metric(), bench.source(prometheus={"url": bench.url, "auth": auth}))
    assert {headers.get("Authorization") for _, headers, _ in asked} == {header}


async def test_headers_go_with_every_query(bench: Bench) -> None:
    """As a tenant of Mimir needs."""
    asked, _ = await bench.ask(metric(), bench.source(prometheus={"url": bench.url, "headers": {"X-Scope-OrgID": "shop"}}))
    assert {headers.get("X-Scope-OrgID") for _, headers, _ in asked} == {"shop"}


async def test_parameters_go_with_every_query(bench: Bench) -> None:
    """As a Thanos that downsamples needs."""
    asked, _ = await bench.ask(metric(), bench.source(prometheus={"url": bench.url, "parameters": {"max_source_resolution": "0s"}}))
    assert {form.get("max_source_resolution") for _, _, form in asked} == {"0s"}


class Vault(SecretReader):
    """Secrets with these values; any other is missing."""

    def __init__(self, values: dict[str, str]) -> None:
        super().__init__(cast("Client", None))
        self._values = values

    async def read(self, namespace: str, ref: SecretRef) -> str:
        try:
            return self._values[f"{ref.name}/{ref.key}"]
        except KeyError:
            raise SecretMissing(f"Secret {namespace}/{ref.name} has no key {ref.key}") from None


CERTIFICATES: list[tuple[str, str, str, bool]] = [
    ("all three", "", "", True),
    ("another CA", "caSecretRef", "other-ca/pem", False),
    ("another key of the CA's Secret", "caSecretRef", "ca/other", False),
    ("another certificate", "certSecretRef", "other-me/cert", False),
    ("another key of the certificate's Secret", "certSecretRef", "me/other", False),
    ("another private key", "keySecretRef", "other-me/key", False),
    ("another key of the private key's Secret", "keySecretRef", "me/other-key", False),
]


@pytest.mark.parametrize(("field", "named", "opens"), [row[1:] for row in CERTIFICATES], ids=[row[0] for row in CERTIFICATES])
async def test_only_the_named_certificates_open_a_server_that_asks_for_them(bench: Bench, field: str, named: str, opens: bool) -> None:
    """Each reference alone, by Secret and by key, decides whether the server is believed and whether it believes us."""
    ours_ca, theirs = trustme.CA(), trustme.CA()
    me, stranger = ours_ca.issue_cert("linnet"), theirs.issue_cert("linnet")
    vault = Vault(
        {
            "ca/pem": pem(ours_ca.cert_pem),
            "other-ca/pem": pem(theirs.cert_pem),
            "ca/other": pem(theirs.cert_pem),
            "me/cert": pem(me.cert_chain_pems[0]),
            "me/key": pem(me.private_key_pem),
            "other-me/cert": pem(stranger.cert_chain_pems[0]),
            "other-me/key": pem(stranger.private_key_pem),
            "me/other": pem(stranger.cert_chain_pems[0]),
            "me/other-key": pem(stranger.private_key_pem),
        }
    )
    refs = {"caSecretRef": "ca/pem", "certSecretRef": "me/cert", "keySecretRef": "me/key", **({field: named} if field else {})}
    ca, cert, key = (dict(zip(("name", "key"), refs[f].split("/"), strict=True)) for f in ("caSecretRef", "certSecretRef", "keySecretRef"))
    async with mutual_tls(ours_ca, "/api/v1/query", {"status": "success", "data": {"resultType": "matrix", "result": []}}) as url:
        block = {"url": url, "caSecretRef": ca, "clientCert": {"certSecretRef": cert, "keySecretRef": key}}
        (use,) = bench.resolve(metric(), bench.source(prometheus=block))[1].sources
        try:
            source = await source_of(use.item, bench.http, vault)
        except TrustError:
            assert not opens
            return
        (answer,) = await source.fetch([Query(selector=Selector("up"))], at=NOW, window=60.0, deadline=5.0)
    assert isinstance(answer, NoData if opens else Failure), answer


def pem(blob: trustme.Blob) -> str:
    return blob.bytes().decode()


@asynccontextmanager
async def mutual_tls(ca: trustme.CA, path: str, body: Any) -> AsyncIterator[str]:
    """A server with one answer that lets in only whom this CA has signed."""

    async def answer(_: web.Request) -> web.Response:
        return web.json_response(body)

    secure = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("127.0.0.1").configure_cert(secure)
    ca.configure_trust(secure)
    secure.verify_mode = ssl.CERT_REQUIRED
    app = web.Application()
    app.router.add_route("*", path, answer)
    async with serving(app, secure=secure) as url:
        yield url


async def test_samples_are_read_when_they_can_have_arrived(bench: Bench) -> None:
    """Behind a remote write of 30 s, ticks are final two scrapes and 30 s after their end."""
    _, resolved = bench.resolve(metric(), bench.source(ingestionDelay="30s"))
    late = await source_of(resolved.sources[0].item, bench.http, Secrets())
    at = NOW - NOW % 15
    asked: dict[float, int | None] = {}
    for delay, source in ((0.0, await source_of(_plain(bench), bench.http, Secrets())), (30.0, late)):
        collector = Collector(source, candidates(_metric(resolved), resolved), scrape_seconds=15.0)
        caches, _ = bench.resolve(metric(), bench.source())
        pair = (arms(caches, resolved, REVISION) or {})["default"]
        await collector.collect(at, pair)
        asked[delay] = collector.last_index
    first, second = asked[0.0], asked[30.0]
    assert first is not None
    assert second is not None
    assert first - second == 2


def _plain(bench: Bench) -> ours.MetricSource:
    (use,) = bench.resolve(metric(), bench.source())[1].sources
    return use.item


def _metric(resolved: Resolved) -> Any:
    assert resolved.spec.analysis is not None
    return (resolved.spec.analysis.metrics or [])[0]


async def test_port_and_path_of_a_page(bench: Bench) -> None:
    """The port by number or by name, the path as written; /metrics where none is."""
    asked, _ = await bench.ask(metric(), bench.scrape())
    assert {path for path, _, _ in asked} == {"/metrics"}
    asked, _ = await bench.ask(metric(), bench.scrape(port="side"))
    assert asked
    asked, _ = await bench.ask(metric(), bench.scrape(port="none"))
    assert asked == []
    asked, _ = await bench.ask(metric(), bench.scrape(path="/prom"))
    assert {path for path, _, _ in asked} == {"/prom"}


async def test_a_page_is_not_read_more_often_than_its_owner_allows(bench: Bench) -> None:
    """The longer of the release's interval and the source's counts."""
    _, config = await bench.ask({**metric(), "interval": "5s"}, bench.scrape(interval="20s"))
    assert config.scrape_seconds == 20.0
    _, config = await bench.ask({**metric(), "interval": "5s"}, bench.scrape(interval="2s"))
    assert config.scrape_seconds == 5.0
