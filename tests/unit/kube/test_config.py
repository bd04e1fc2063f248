"""Where the API server is: kubeconfigs as people write them, and the pod's own account."""

import base64
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from daemon.kube import config
from daemon.kube.errors import ConfigError
from daemon.kube.transport import Transport
from tests.unit.kube.server import serving
from tests.unit.kube.virtual import run


def write(path: Path, *, user: dict[str, Any] | None = None, cluster: dict[str, Any] | None = None, **more: Any) -> str:
    content = {
        "current-context": "dev",
        "contexts": [{"name": "dev", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://api.example.org:6443/", **(cluster or {})}}],
        "users": [{"name": "u", "user": user or {}}],
    } | more
    path.write_text(yaml.safe_dump(content))
    return str(path)


def test_every_kind_of_credential_is_read(tmp_path: Path) -> None:
    """Data is decoded, files are taken relative to the kubeconfig, the rest as it stands."""
    path = write(
        tmp_path / "config",
        cluster={"certificate-authority": "ca.crt", "insecure-skip-tls-verify": True, "tls-server-name": "kube", "proxy-url": "http://p:1"},
        user={"client-certificate-data": base64.b64encode(b"cert").decode(), "client-key": "keys/k", "tokenFile": "/t", "token": "abc"},
    )
    found = config.from_kubeconfig([path])
    assert found.server == "https://api.example.org:6443"
    assert found.namespace == "shop"
    assert found.ca_file == str(tmp_path / "ca.crt")
    assert found.cert_data == b"cert"
    assert found.key_file == str(tmp_path / "keys/k")
    assert (found.token_file, found.token, found.insecure, found.tls_server_name, found.proxy_url) == (
        "/t",
        "abc",
        True,
        "kube",
        "http://p:1",
    )
    assert "abc" not in repr(found)


def test_a_list_of_kubeconfigs_is_merged_as_kubectl_does(tmp_path: Path) -> None:
    """The first file that names a thing wins; missing files are skipped."""
    first = tmp_path / "one"
    first.write_text(yaml.safe_dump({"users": [{"name": "u", "user": {"token": "first"}}]}))
    second = write(tmp_path / "two", user={"token": "second"})
    env = {"KUBECONFIG": f"{tmp_path / 'missing'}:{first}:{second}", "HOME": str(tmp_path)}
    assert config.load(env=env).token == "first"


def test_the_named_file_wins_over_everything_and_the_pod_over_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--kubeconfig, then $KUBECONFIG, then the ServiceAccount, then the home folder."""
    (tmp_path / "token").write_text("t")
    (tmp_path / "ca.crt").write_text("c")
    (tmp_path / "namespace").write_text("linnet\n")
    monkeypatch.setattr(config, "SERVICE_ACCOUNT", tmp_path)
    (tmp_path / ".kube").mkdir()
    home = write(tmp_path / ".kube" / "config", user={"token": "home"})
    pod = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443", "HOME": str(tmp_path)}
    named = write(tmp_path / "named", user={"token": "named"})
    assert config.load(named, env=pod).token == "named"
    assert config.load(env=pod | {"KUBECONFIG": home}).token == "home"
    assert config.load(env={"HOME": str(tmp_path)}).token == "home"
    found = config.in_cluster(env=pod, folder=tmp_path)
    assert (found.server, found.namespace, found.token_file) == ("https://[fd00::1]:443", "linnet", str(tmp_path / "token"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"current-context": ""}, "current-context is not set"),
        ({"current-context": "prod"}, "context 'prod' is not among contexts: dev"),
        ({"cluster": {"server": "api.example.org"}}, "must start with https:// or http://"),
        ({"user": {"client-key-data": "%%%"}}, "client-key-data is not base64"),
        ({"user": {"token": 5}}, "token must be a string, not int"),
        ({"clusters": {"c": {}}}, "clusters must be a list"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_a_wrong_kubeconfig_names_the_field(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    """The message names file, field and value."""
    path = write(tmp_path / "config", **change)
    with pytest.raises(ConfigError, match=says) as caught:
        config.from_kubeconfig([path])
    assert path in str(caught.value)


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "\x00"])
def test_a_file_that_is_no_kubeconfig_is_refused(tmp_path: Path, text: str) -> None:
    """A YAML error is our error with the path in it."""
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(ConfigError, match=str(path)):
        config.from_kubeconfig([str(path)])


def test_nothing_configured_says_what_to_do(tmp_path: Path) -> None:
    """The way out is in the message."""
    with pytest.raises(ConfigError, match="--kubeconfig"):
        config.load(env={"HOME": str(tmp_path)})
    with pytest.raises(ConfigError, match="does not exist"):
        config.load(str(tmp_path / "missing"))
    with pytest.raises(ConfigError, match="automountServiceAccountToken"):
        config.in_cluster(env={"KUBERNETES_SERVICE_HOST": "h"}, folder=tmp_path)


def test_an_exec_plugin_is_asked_once_and_again_after_a_401(tmp_path: Path) -> None:
    """The program's token is sent, kept, and renewed when the server refuses it."""
    count = tmp_path / "count"
    count.write_text("")
    script = tmp_path / "plugin.sh"
    script.write_text(
        f"#!/bin/sh\nprintf x >> {count}\nn=$(wc -c < {count})\n"
        'printf \'{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"token-%s"}}\' $((n))\n'
    )
    script.chmod(0o755)
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(script), "interactiveMode": "Never"}}

    async def main() -> None:
        async with serving() as server:
            refuse = [False]

            async def handler(request: web.Request) -> web.StreamResponse:
                return web.json_response({}, status=401 if refuse[0] else 200)

            server.handler = handler
            found = config.from_kubeconfig([write(tmp_path / "config", user=user, cluster={"server": server.url})])
            async with Transport(found) as transport:
                await transport.request("GET", "/a")
                await transport.request("GET", "/a")
                refuse[0] = True
                with pytest.raises(Exception, match="401"):
                    await transport.request("GET", "/a")
                refuse[0] = False
                await transport.request("GET", "/a")
            assert [h["Authorization"] for h in server.headers] == ["Bearer token-1"] * 3 + ["Bearer token-2"]

    import asyncio

    asyncio.run(main())


def test_the_library_is_not_imported_without_a_plugin() -> None:
    """66 MB and most of a second are spent only by those who need it."""
    code = "import sys, daemon.kube.informer, daemon.kube.lease, daemon.kube.config; sys.exit('kubernetes_asyncio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=30).returncode == 0


def test_a_plain_http_server_needs_no_tls(tmp_path: Path) -> None:
    """The sandbox and `kubectl proxy` are reached as they are."""

    async def main() -> None:
        async with serving() as server:

            async def handler(request: web.Request) -> web.StreamResponse:
                return web.json_response({})

            server.handler = handler
            found = config.from_kubeconfig(
                [write(tmp_path / "config", user={"username": "a", "password": "b"}, cluster={"server": server.url})]
            )
            async with Transport(found) as transport:
                await transport.request("GET", "/a")
            assert server.headers[0]["Authorization"] == "Basic YTpi"

    run(main())
