"""What a request may look like: protobuf bodies, callers, kubeconfigs."""

from __future__ import annotations

import io
import struct
from typing import Any

import aiohttp
import msgspec
import pytest

from daemon.sandbox import protobuf
from daemon.sandbox.errors import ApiError
from daemon.sandbox.furnish import furnished
from daemon.sandbox.server import ApiServer


def _varint(value: int) -> bytes:
    out = bytearray()
    value &= 2**64 - 1
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _field(number: int, value: bytes | str | int) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    raw = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(raw)) + raw


def _body(version: str, kind: str, raw: bytes) -> bytes:
    return b"k8s\x00" + _field(1, _field(1, version) + _field(2, kind)) + _field(2, raw)


def test_a_protobuf_object_is_read() -> None:
    """Texts, maps, times, quantities, numbers, bytes and inlined structs."""
    meta = _field(1, "web") + _field(11, _field(1, "app") + _field(2, "web")) + _field(8, _field(1, 1767225600))
    limits = _field(1, _field(1, "cpu") + _field(2, _field(1, "500m")))
    container = _field(1, "app") + _field(2, "app:1") + _field(8, limits) + _field(6, _field(3, 8080))
    volume = _field(1, "v") + _field(2, _field(2, b""))
    spec = _field(1, volume) + _field(2, container) + _field(4, -5)
    pod = protobuf.decode(_body("v1", "Pod", _field(1, meta) + _field(2, spec)))
    assert pod["metadata"] == {"name": "web", "labels": {"app": "web"}, "creationTimestamp": "2026-01-01T00:00:00Z"}
    assert pod["spec"] == {
        "volumes": [{"name": "v", "emptyDir": {}}],
        "containers": [{"name": "app", "image": "app:1", "resources": {"limits": {"cpu": "500m"}}, "ports": [{"containerPort": 8080}]}],
        "terminationGracePeriodSeconds": -5,
    }


def test_protobuf_bytes_are_base64_and_ports_may_be_names() -> None:
    """Secrets, and int-or-string."""
    secret = protobuf.decode(_body("v1", "Secret", _field(1, _field(1, "s")) + _field(2, _field(1, "a") + _field(2, b"\x00\x01"))))
    assert secret["data"] == {"a": "AAE="}
    named = _field(3, 80) + _field(4, _field(1, 1) + _field(3, "http"))
    number = _field(3, 81) + _field(4, _field(1, 0) + _field(2, 8081))
    service = protobuf.decode(_body("v1", "Service", _field(2, _field(1, named) + _field(1, number))))
    assert [p["targetPort"] for p in service["spec"]["ports"]] == ["http", 8081]


@pytest.mark.parametrize("data", [b"", b"nope", b"k8s\x00", b"k8s\x00\xff\xff", _body("v1", "Nonsense", b""), struct.pack("<Q", 7)])
def test_what_is_no_protobuf_object_is_a_bad_request(data: bytes) -> None:
    """400, never another exception."""
    with pytest.raises(ApiError) as refused:
        protobuf.decode(data)
    assert refused.value.code == 400


async def _whoami(server: ApiServer, token: str | None) -> str:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{server.url}/apis/authentication.k8s.io/v1/selfsubjectreviews", json={}, headers=headers) as r,
    ):
        found: dict[str, Any] = await r.json()
        return str(found["status"]["userInfo"]["username"])


async def test_a_token_names_its_user() -> None:
    """Known, unknown, none; a ServiceAccount's token names the account."""
    async with ApiServer(furnished(), users={"s3cret": "linnet"}) as server, aiohttp.ClientSession() as session:
        assert await _whoami(server, "s3cret") == "linnet"
        assert await _whoami(server, "other") == "system:anonymous"
        assert await _whoami(server, None) == "admin"
        server.store.create("serviceaccounts", {"metadata": {"name": "bot", "namespace": "default"}}, user="admin")
        url = f"{server.url}/api/v1/namespaces/default/serviceaccounts/bot/token"
        async with session.post(url, json={"spec": {}}) as r:
            token = (await r.json())["status"]["token"]
        assert await _whoami(server, token) == "system:serviceaccount:default:bot"


async def test_a_kubeconfig_names_the_server_and_a_token() -> None:
    """One for each user; the same token when asked again."""
    async with ApiServer(furnished()) as server:
        one, again = (msgspec.json.decode(server.kubeconfig("ann")) for _ in range(2))
        assert one == again
        assert one["clusters"][0]["cluster"]["server"] == server.url
        assert await _whoami(server, one["users"][0]["user"]["token"]) == "ann"


async def test_a_body_that_is_too_large_is_refused() -> None:
    """413 with a Status, as for an object beyond three megabytes."""
    async with (
        ApiServer(furnished()) as server,
        aiohttp.ClientSession() as session,
        session.post(
            f"{server.url}/api/v1/namespaces/default/configmaps",
            data=io.BytesIO(b"x" * (4 << 20)),
            headers={"Content-Type": "application/json"},
        ) as r,
    ):
        assert r.status == 413
        assert (await r.json())["reason"] == "RequestEntityTooLarge"


async def test_watches_end_when_the_server_stops() -> None:
    """A stop does not wait for clients that stay."""
    server = ApiServer(furnished())
    await server.start()
    async with aiohttp.ClientSession() as session, session.get(f"{server.url}/api/v1/configmaps?watch=1&resourceVersion=0") as r:
        assert r.status == 200
        await server.stop()


async def test_a_pod_prints_its_log() -> None:
    """From whoever runs the pods; the last lines on request."""
    store = furnished()
    pod = {"metadata": {"name": "p", "namespace": "default"}, "spec": {"containers": [{"name": "app", "image": "x"}]}}
    store.create("pods", pod, user="admin")
    async with (
        ApiServer(store, logs=lambda ns, name, container: f"{ns}/{name}/{container}\ntwo\n".encode()) as server,
        aiohttp.ClientSession() as session,
    ):
        url = f"{server.url}/api/v1/namespaces/default/pods/p/log"
        async with session.get(url) as r:
            assert await r.text() == "default/p/app\ntwo\n"
        async with session.get(url + "?tailLines=1") as r:
            assert await r.text() == "two\n"
        async with session.get(url + "?container=none") as r:
            assert r.status == 400
