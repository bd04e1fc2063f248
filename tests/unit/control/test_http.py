"""How the outside world is reached: through which proxy, trusting whom, and with a reply that is what the server said."""

from __future__ import annotations

import datetime as dt
import os
import ssl
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web

from analyzers.sources.protocol import HttpReply, ReplyTooLarge
from daemon.control import http as http_module
from daemon.control.http import Http
from daemon.control.proxies import proxy_for
from daemon.control.trust import Tls, TrustError, bundle, context, tell_requests
from tests.serving import serving

PROXY = "http://proxy.corp:3128"


async def get(client: Any, url: str) -> HttpReply:
    reply: HttpReply = await client.request("GET", url, headers={}, data=None, deadline=5.0)
    return reply


async def fine(_: web.Request) -> web.Response:
    return web.Response(text="fine")


@pytest.mark.parametrize(
    ("url", "no_proxy", "direct"),
    [
        ("https://prometheus.example.com", "", False),
        ("https://prometheus.example.com", "example.com", True),
        ("https://prometheus.example.com", ".example.com", True),
        ("https://prometheus.example.com", "*.example.com", True),
        ("https://example.com", ".example.com", False),
        ("https://badexample.com", "example.com", False),
        ("https://prometheus.monitoring.svc", "localhost,.svc,.cluster.local", True),
        ("https://10.1.2.3:9090", "10.0.0.0/8", True),
        ("https://11.1.2.3:9090", "10.0.0.0/8", False),
        ("https://10.1.2.3", "10.1.2.3", True),
        ("https://[fd00::7]:9090", "fd00::/8", True),
        ("https://prometheus.example.com:9090", "prometheus.example.com:9090", True),
        ("https://prometheus.example.com:9091", "prometheus.example.com:9090", False),
        ("https://prometheus.example.com", "*", True),
        ("https://prometheus.example.com", "not/a/net,,  ", False),
        ("https://localhost:9090", "", True),
        ("https://127.0.0.1:9090", "", True),
    ],
)
def test_no_proxy_is_read_as_clusters_write_it(url: str, no_proxy: str, direct: bool) -> None:
    """Networks, suffixes, ports and the star, as Go programs read them."""
    found = proxy_for(url, {"HTTPS_PROXY": PROXY, "NO_PROXY": no_proxy})
    assert found == (None if direct else PROXY)


def test_each_scheme_has_its_own_proxy() -> None:
    """The one of https is not used for http; lower case wins; an address without a scheme is http."""
    assert proxy_for("http://a.example", {"HTTPS_PROXY": PROXY}) is None
    assert proxy_for("http://a.example", {"HTTP_PROXY": PROXY, "http_proxy": "other:1"}) == "http://other:1"


async def test_requests_go_through_the_proxy_and_those_to_pods_do_not(http: Http, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy sees the whole address of a plain request; a direct client never asks it."""
    seen: list[str] = []

    async def proxy(request: web.Request) -> web.Response:
        seen.append(str(request.url))
        return web.Response(text="by proxy")

    async with serving(proxy) as address, serving(fine) as pod:
        monkeypatch.setenv("http_proxy", address)
        assert (await get(http, "http://prometheus.test/api")).body == b"by proxy"
        assert seen == ["http://prometheus.test/api"]
        assert (await get(http.direct(), pod)).body == b"fine"
    assert len(seen) == 1


async def test_a_company_s_ca_is_trusted_beside_the_public_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the bundle its server is not believed; with it, it is, and the public CAs stay."""
    ca, secure = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("127.0.0.1").configure_cert(secure)
    file = tmp_path / "corp.pem"
    ca.cert_pem.write_to_path(file)
    async with serving(fine, secure=secure) as url:
        before, after = Http(), Http()
        with pytest.raises(OSError, match="ertificate"):
            await get(before, url)
        monkeypatch.setenv("LINNET_CA_BUNDLE", str(file))
        assert (await get(after, url)).body == b"fine"
        await before.close()
        await after.close()
    public = len(context(Tls()).get_ca_certs())
    assert len(context(Tls(), bundle()).get_ca_certs()) == public + 1


async def test_libraries_on_requests_trust_the_bundle_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages and discovery use requests, which knows one file that replaces the public CAs: it gets both."""
    ca = trustme.CA()
    file = tmp_path / "corp.pem"
    ca.cert_pem.write_to_path(file)
    monkeypatch.setenv("LINNET_CA_BUNDLE", str(file))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "")
    tell_requests()
    combined = Path(os.environ["REQUESTS_CA_BUNDLE"]).read_text(encoding="ascii")
    assert file.read_text() in combined
    assert combined.count("BEGIN CERTIFICATE") > 50
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "mine.pem")
    tell_requests()
    assert os.environ["REQUESTS_CA_BUNDLE"] == "mine.pem"


async def test_a_bundle_that_is_none_is_named(http: Http, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable, the file and the way out; a request says the same and does not crash."""
    empty = tmp_path / "empty.pem"
    empty.write_text("hello")
    for name in (str(tmp_path / "gone.pem"), str(empty)):
        monkeypatch.setenv("LINNET_CA_BUNDLE", name)
        with pytest.raises(TrustError, match=f"LINNET_CA_BUNDLE is {name}"):
            bundle()
        with pytest.raises(OSError, match="LINNET_CA_BUNDLE"):
            await get(http, "https://127.0.0.1:1")


def test_a_certificate_that_cannot_be_used_is_refused_without_its_key_in_the_text() -> None:
    """Half a pair, a stranger's key and rubbish."""
    ca = trustme.CA()
    one, other = ca.issue_cert("a"), ca.issue_cert("b")
    cert, key = one.cert_chain_pems[0].bytes().decode(), other.private_key_pem.bytes().decode()
    for tls, says in (
        (Tls(certificate=cert), "both"),
        (Tls(certificate=cert, key=key), "together"),
        (Tls(certificate="x", key="y"), "together"),
        (Tls(ca="x"), "no certificate"),
        (Tls(ca="-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----"), "cannot be read"),
    ):
        with pytest.raises(TrustError, match=says) as caught:
            context(tls)
        assert key[40:80] not in str(caught.value)
        assert key[40:80] not in repr(tls)


async def test_a_source_s_own_ca_is_the_only_one_for_it(http: Http) -> None:
    """The server of another CA is not believed, whoever else trusts it."""
    theirs, secure = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    theirs.issue_cert("127.0.0.1").configure_cert(secure)
    async with serving(fine, secure=secure) as url:
        own = http.with_tls(Tls(ca=theirs.cert_pem.bytes().decode()))
        assert (await get(own, url)).body == b"fine"
        with pytest.raises(OSError, match="ertificate"):
            await get(http.with_tls(Tls(ca=trustme.CA().cert_pem.bytes().decode())), url)


@pytest.mark.parametrize(("ahead", "age", "seen"), [(3600, None, 3600), (-3600, None, -3599), (0, None, 0), (-3600, "3600", None)])
async def test_the_server_s_clock_is_compared_with_ours(ahead: int, age: str | None, seen: float | None) -> None:
    """From its Date header; a reply out of a cache has an old one and says nothing."""
    now = 1_760_000_000.0

    async def dated(_: web.Request) -> web.Response:
        date = format_datetime(dt.datetime.fromtimestamp(now + ahead, dt.UTC), usegmt=True)
        return web.Response(headers={"Date": date, **({"Age": age} if age else {})})

    client = Http(now=lambda: now)
    async with serving(dated) as url:
        reply = await get(client, url)
    await client.close()
    assert reply.skew == seen


async def test_a_reply_without_end_is_given_up(http: Http, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its length is bounded, not our memory."""
    monkeypatch.setattr(http_module, "LIMIT", 1000)

    async def endless(_: web.Request) -> web.Response:
        return web.Response(body=b"x" * 1001)

    async with serving(endless) as url:
        with pytest.raises(ReplyTooLarge, match="1000 bytes"):
            await get(http, url)


async def test_a_redirect_is_not_followed(http: Http) -> None:
    """Credentials go to the address in the spec and nowhere else."""

    async def elsewhere(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"})

    async with serving(elsewhere) as url:
        assert (await get(http, url)).status == 302
