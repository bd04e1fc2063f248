"""The witness is a library with connections of its own: it goes through the same proxy, and trusts the same CAs, as all else that Linnet asks."""

from __future__ import annotations

import json
import ssl
from pathlib import Path

import pytest
import trustme
from aiohttp import web

from daemon.control.http import Http
from flags import unleash_witness
from flags.errors import Retryable
from flags.model import Desired
from flags.unleash_admin import UnleashSource
from flags.unleash_witness import Witnesses
from tests.serving import serving

DESIRED = Desired(percent=10)


class Unleash:
    """What SDKs ask of it: every flag is switched off. `asked` has the whole addresses, as they came."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(str(request.url))
        flag = {"name": "checkout", "enabled": False, "strategies": [], "type": "release", "project": "default"}
        return web.Response(text=json.dumps({"version": 2, "features": [flag]}), content_type="application/json")


async def doubt(witnesses: Witnesses, url: str) -> str:
    source = UnleashSource(url=url, token="admin", client_token="default:production.key", environment="production")
    try:
        return await witnesses.doubt(source, "checkout", DESIRED, {})
    finally:
        await witnesses.close()


async def test_the_witness_trusts_a_company_s_ca(http: Http, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With connections of the SDK's own making there is no answer that it believes; with ours it reads the flag."""
    monkeypatch.setattr(unleash_witness, "START", 1.0)
    ca, secure = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("127.0.0.1").configure_cert(secure)
    file = tmp_path / "corp.pem"
    ca.cert_pem.write_to_path(file)
    monkeypatch.setenv("LINNET_CA_BUNDLE", str(file))
    server = Unleash()
    async with serving(server.answer, secure=secure) as url:
        try:
            alone = await doubt(Witnesses(), url)
        except Retryable as error:
            alone = str(error)
        assert "switched off" not in alone
        assert server.asked == []
        monkeypatch.setattr(unleash_witness, "START", 30.0)
        assert "switched off" in await doubt(Witnesses(http.session), url)
    assert server.asked


async def test_the_witness_goes_through_the_proxy(http: Http, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy sees the whole address of what the SDK asks."""
    proxy = Unleash()
    async with serving(proxy.answer) as address:
        monkeypatch.setenv("http_proxy", address)
        assert "switched off" in await doubt(Witnesses(http.session), "http://unleash.test")
    assert {url.partition("?")[0] for url in proxy.asked} == {"http://unleash.test/api/client/features"}


async def test_a_bundle_that_is_none_is_said(http: Http, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The step waits, and its sentence names the file."""
    monkeypatch.setenv("LINNET_CA_BUNDLE", str(tmp_path / "gone.pem"))
    with pytest.raises(Retryable, match=r"the witness: .*gone\.pem"):
        await doubt(Witnesses(http.session), "http://unleash.test")
