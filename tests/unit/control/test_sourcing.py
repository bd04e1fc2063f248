"""What a MetricSource says of a server that answers queries is how that server is asked: leaf by leaf, type by type."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
import trustme

from analyzers.errors import ConfigError
from analyzers.metrics import parse_selector
from analyzers.sources.protocol import Failure, Outcome, Query, Samples, Value, ValueOutcome
from analyzers.sources.sigv4 import SigV4
from daemon.control import objects as ours
from daemon.control.http import Http
from daemon.control.secrets import SecretReader
from daemon.control.sourcing import options_of, source_of, values_of
from daemon.control.trust import TrustError
from daemon.kube.client import decode
from tests.unit.analyzers.sources import AT, Server, flux, points, render, vector
from tests.unit.control import world as w
from tests.unit.control.cluster import SHOP, Object
from tests.unit.control.test_measuring import AUTH, CERTIFICATES, Bench, Secrets, Vault, mutual_tls, pem


def item(kind: str, block: str, spec: Object) -> ours.MetricSource:
    raw = w.linnet("MetricSource", "one", {"type": kind, block: spec})
    raw["metadata"] |= {"namespace": SHOP}
    return decode(ours.MetricSource, msgspec.json.encode(raw))


COUNTERS: Object = {"counters": [{"name": "orders"}]}
PLAIN_SERVERS: list[tuple[str, str, bytes, Object]] = [
    ("Graphite", "graphite", render([1.0]), {}),
    ("Web", "web", b'[{"arm": "stable", "value": 1}]', COUNTERS),
]
each_server = pytest.mark.parametrize(("kind", "block", "body", "more"), PLAIN_SERVERS, ids=[row[0] for row in PLAIN_SERVERS])
ORDERS = parse_selector('orders{arm="stable"}')


async def once(one: ours.MetricSource, http: Http, secrets: SecretReader) -> Outcome | ValueOutcome:
    """One question, as the judge asks where it can, else as a template does."""
    if one.spec.type == "Web":
        (found,) = await (await source_of(one, http, secrets)).fetch([Query(selector=ORDERS)], at=AT, window=60.0, deadline=5.0)
        return found
    return await (await values_of(one, http, secrets)).value("a.b", at=AT, deadline=5.0)


async def ask(server: Server, http: Http, kind: str, block: str, **spec: Any) -> Any:
    """The one request that a query makes."""
    server.asked.clear()
    answer = await once(item(kind, block, {"url": server.url, **spec}), http, Secrets())
    assert isinstance(answer, Value | Samples), answer
    (asked,) = server.asked
    return asked


@pytest.mark.parametrize(("auth", "header"), [row[1:] for row in AUTH], ids=[row[0] for row in AUTH])
@each_server
async def test_the_secret_that_is_named_signs_a_render(
    server: Server, http: Http, kind: str, block: str, body: bytes, more: Object, auth: Object, header: str
) -> None:
    """Name and key of each Secret, each alone."""
    server.body = body
    asked = await ask(server, http, kind, block, auth=auth, **more)
    assert asked.headers["Authorization"] == header


async def test_each_word_of_a_counter_decides_what_is_counted(http: Http, server: Server) -> None:
    """Path, name, place in the answer and field, each alone."""
    server.body = b'{"a": [{"arm": "stable", "value": 1, "n": 2}], "b": [{"arm": "stable", "value": 3}], "paid": {"stable": 4}}'

    async def counted(path: str | None, **counter: str) -> tuple[str, float | None]:
        block = {"url": server.url, "counters": [{"name": "orders", "jsonPath": "{$.a}", **counter}], **({"path": path} if path else {})}
        server.asked.clear()
        found = await once(item("Web", "web", block), http, Secrets())
        return (server.asked[0].path if server.asked else ""), found.series[0].samples[0].value if isinstance(found, Samples) else None

    assert await counted(None) == ("/", 1.0)
    assert await counted("/counts?of={{arm}}") == ("/counts?of=stable", 1.0)
    assert await counted(None, jsonPath="{$.b}") == ("/", 3.0)
    assert await counted(None, jsonPath="{$.paid.{{arm}}}") == ("/", 4.0)
    assert await counted(None, value="n") == ("/", 2.0)
    assert await counted(None, name="baskets") == ("", None)


SIGNED = {
    "region": "eu-west-1",
    "accessKeySecretRef": {"name": "aws", "key": "id"},
    "secretKeySecretRef": {"name": "aws", "key": "secret"},
    "sessionTokenSecretRef": {"name": "aws", "key": "token"},
}
SIGV4: list[tuple[str, Object, str, str]] = [
    ("region", {"region": "us-east-1"}, "region", "us-east-1"),
    ("service", {"service": "monitoring"}, "service", "monitoring"),
    *(
        (f"{field} {part}", {ref: {"name": "aws", "key": old, part: "z"}}, field, f"shop.z.{old}" if part == "name" else "shop.aws.z")
        for field, ref, old in (
            ("access_key", "accessKeySecretRef", "id"),
            ("secret_key", "secretKeySecretRef", "secret"),
            ("session_token", "sessionTokenSecretRef", "token"),
        )
        for part in ("name", "key")
    ),
]


@pytest.mark.parametrize(("changed", "field", "value"), [row[1:] for row in SIGV4], ids=[row[0] for row in SIGV4])
async def test_each_part_of_sigv4_reaches_the_signature(server: Server, http: Http, changed: Object, field: str, value: str) -> None:
    """Each alone: the options have it, and what arrives is signed with it (how is the business of the signer's own tests)."""
    server.body = vector([1.0])
    usual = {
        "region": "eu-west-1",
        "service": "aps",
        "access_key": "shop.aws.id",
        "secret_key": "shop.aws.secret",
        "session_token": "shop.aws.token",
    }
    block = {"url": server.url, "sigV4": {**SIGNED, **changed}}
    options = await options_of(item("Prometheus", "prometheus", block), Secrets())
    assert options.sigv4 == SigV4(**{**usual, field: value})
    asked = await ask(server, http, "Prometheus", "prometheus", **block)
    assert asked.headers["Authorization"].startswith("AWS4-HMAC-SHA256 Credential=")
    assert field in ("secret_key", "session_token") or value in asked.headers["Authorization"]
    assert asked.headers["x-amz-security-token"] == (value if field == "session_token" else "shop.aws.token")


@each_server
async def test_address_and_headers_of_a_render(server: Server, http: Http, kind: str, block: str, body: bytes, more: Object) -> None:
    """A path of the address is kept; headers go with each query."""
    server.body = body
    asked = await ask(server, http, kind, block, url=f"{server.url}/graphite", headers={"X-Org": "shop"}, **more)
    assert asked.path == ("/graphite/render" if kind == "Graphite" else "/graphite")
    assert asked.headers["X-Org"] == "shop"


@pytest.mark.parametrize(("field", "named", "opens"), [row[1:] for row in CERTIFICATES], ids=[row[0] for row in CERTIFICATES])
@each_server
async def test_only_the_named_certificates_open_a_graphite(
    http: Http, kind: str, block: str, body: bytes, more: Object, field: str, named: str, opens: bool
) -> None:
    """Each reference alone, by Secret and by key."""
    ours_ca, theirs = trustme.CA(), trustme.CA()
    me, stranger = ours_ca.issue_cert("linnet"), theirs.issue_cert("linnet")
    mine, others = (
        {"cert": me.cert_chain_pems[0], "key": me.private_key_pem},
        {"cert": stranger.cert_chain_pems[0], "key": stranger.private_key_pem},
    )
    values = {f"me/{k}": pem(v) for k, v in mine.items()} | {f"other-me/{k}": pem(v) for k, v in others.items()}
    values |= {"me/other": pem(others["cert"]), "me/other-key": pem(others["key"])}
    values |= {"ca/pem": pem(ours_ca.cert_pem), "other-ca/pem": pem(theirs.cert_pem), "ca/other": pem(theirs.cert_pem)}
    refs = {"caSecretRef": "ca/pem", "certSecretRef": "me/cert", "keySecretRef": "me/key", **({field: named} if field else {})}
    ca, cert, key = (dict(zip(("name", "key"), refs[f].split("/"), strict=True)) for f in ("caSecretRef", "certSecretRef", "keySecretRef"))
    async with mutual_tls(ours_ca, "/render" if kind == "Graphite" else "/", json.loads(body)) as url:
        spec = {"url": url, "caSecretRef": ca, "clientCert": {"certSecretRef": cert, "keySecretRef": key}, **more}
        try:
            answer = await once(item(kind, block, spec), http, Vault(values))
        except TrustError:
            assert not opens
            return
    assert isinstance(answer, Value | Samples if opens else Failure), answer


KEYS = {"apiKeySecretRef": {"name": "dd", "key": "api"}, "applicationKeySecretRef": {"name": "dd", "key": "app"}}
TOKEN = {"tokenSecretRef": {"name": "flux", "key": "token"}}
VENDORS: list[tuple[str, str, str, bytes, Object, str, str]] = [
    ("api key's Secret", "Datadog", "datadog", points([1.0]), {"apiKeySecretRef": {"name": "z", "key": "api"}}, "DD-API-KEY", "shop.z.api"),
    ("api key's key", "Datadog", "datadog", points([1.0]), {"apiKeySecretRef": {"name": "dd", "key": "z"}}, "DD-API-KEY", "shop.dd.z"),
    (
        "application key's Secret",
        "Datadog",
        "datadog",
        points([1.0]),
        {"applicationKeySecretRef": {"name": "z", "key": "app"}},
        "DD-APPLICATION-KEY",
        "shop.z.app",
    ),
    (
        "application key's key",
        "Datadog",
        "datadog",
        points([1.0]),
        {"applicationKeySecretRef": {"name": "dd", "key": "z"}},
        "DD-APPLICATION-KEY",
        "shop.dd.z",
    ),
    (
        "token's Secret",
        "InfluxDB",
        "influxdb",
        flux([1.0]),
        {"tokenSecretRef": {"name": "z", "key": "token"}},
        "Authorization",
        "Token shop.z.token",
    ),
    (
        "token's key",
        "InfluxDB",
        "influxdb",
        flux([1.0]),
        {"tokenSecretRef": {"name": "flux", "key": "z"}},
        "Authorization",
        "Token shop.flux.z",
    ),
]


@pytest.mark.parametrize(
    ("kind", "block", "body", "changed", "header", "value"), [row[1:] for row in VENDORS], ids=[row[0] for row in VENDORS]
)
async def test_each_secret_of_a_vendor_reaches_its_header(
    server: Server, http: Http, kind: str, block: str, body: bytes, changed: Object, header: str, value: str
) -> None:
    """By name and by key, each alone."""
    server.body = body
    usual: Object = KEYS if kind == "Datadog" else {**TOKEN, "org": "shop"}
    before = await ask(server, http, kind, block, **usual)
    after = await ask(server, http, kind, block, **{**usual, **changed})
    assert before.headers[header] != value
    assert after.headers[header] == value


async def test_address_and_organisation_of_a_vendor(server: Server, http: Http) -> None:
    """A path of the address is kept; the organisation goes with each query; Datadog has an address of its own."""
    server.body = flux([1.0])
    asked = await ask(server, http, "InfluxDB", "influxdb", **TOKEN, org="other", url=f"{server.url}/flux")
    assert asked.path == "/flux/api/v2/query?org=other"
    server.body = points([1.0])
    asked = await ask(server, http, "Datadog", "datadog", **KEYS, url=f"{server.url}/eu")
    assert asked.path.startswith("/eu/api/v1/query?from=")
    options = await options_of(item("Datadog", "datadog", KEYS), Secrets())
    assert options.url == "https://api.datadoghq.com"
    assert "shop.dd" not in repr(options)


async def test_versions_are_not_compared_by_sums() -> None:
    """A metric that names a Graphite is refused before anything is touched, with the way out."""
    metric = {"name": "errors", "ratio": {"errors": "a", "total": "b"}}
    bench = Bench(cast("Any", SimpleNamespace(port=9)), cast("Any", None))
    _, resolved = bench.resolve(
        {"metrics": [metric]}, w.linnet("MetricSource", "default", {"type": "Graphite", "graphite": {"url": "http://g"}})
    )
    (problem,) = resolved.problems
    assert problem.reason == "SourceUnsuitable"
    assert "ask it in a template" in problem.message
    assert "Prometheus, Scrape or Web" in problem.way_out
    assert resolved.sources == ()


async def test_a_source_without_the_use_says_what_to_do(http: Http) -> None:
    """Pods answer no queries, and sums cannot be compared: the message leads on."""
    with pytest.raises(ConfigError, match="answers no queries"):
        await values_of(item("Scrape", "scrape", {"port": 80}), http, Secrets())
    with pytest.raises(ConfigError, match="ask it in a template"):
        await source_of(item("Graphite", "graphite", {"url": "http://graphite"}), http, Secrets())
