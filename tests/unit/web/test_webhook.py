"""What the webhook answers the API server. That both mean the same as the policies is tried in tests/cluster/test_hold_policies.py."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from daemon.web.webhook import application

OURS = {"linnet.dev/canary": "checkout"}


@pytest.fixture
async def api_server() -> AsyncIterator[TestClient[Any, Any]]:
    async with TestClient(TestServer(application())) as client:
        yield client


def review(old: dict[str, str] | None, new: dict[str, str] | None, **more: Any) -> dict[str, Any]:
    def thing(annotations: dict[str, str] | None) -> dict[str, Any]:
        return {"metadata": {"name": "checkout", **({} if annotations is None else {"annotations": annotations})}, "spec": {}}

    request = {"uid": "u1", "object": thing(new), "oldObject": thing(old), "userInfo": {"username": "alice", "groups": ["dev"]}, **more}
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


async def patch(client: TestClient[Any, Any], path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The operations of the answer, which always lets the write pass."""
    async with client.post(path, data=io.BytesIO(json.dumps(body).encode())) as answer:
        assert answer.status == 200
        found = await answer.json()
    assert (found["kind"], found["response"]["uid"], found["response"]["allowed"]) == ("AdmissionReview", "u1", True)
    operations: list[dict[str, Any]] = json.loads(base64.b64decode(found["response"].get("patch", "W10=")))
    assert ("patchType" in found["response"]) is bool(operations)
    return operations


async def test_a_write_is_paused_and_marked(api_server: TestClient[Any, Any]) -> None:
    """Leaf by leaf where there are annotations, so that those of others stay."""
    assert await patch(api_server, "/hold", review(OURS, {**OURS, "team": "shop"})) == [
        {"op": "add", "path": "/metadata/annotations/linnet.dev~1held", "value": "webhook"},
        {"op": "add", "path": "/metadata/annotations/linnet.dev~1canary", "value": "checkout"},
        {"op": "add", "path": "/metadata/annotations/linnet.dev~1author", "value": "alice"},
        {"op": "add", "path": "/spec/paused", "value": True},
    ]


@pytest.mark.parametrize("annotations", [None, {}])
async def test_a_manifest_without_the_mark_stays_adopted(api_server: TestClient[Any, Any], annotations: dict[str, str] | None) -> None:
    """`kubectl replace` of the user's own file."""
    marks = {"linnet.dev/held": "webhook", "linnet.dev/canary": "checkout", "linnet.dev/author": "alice"}
    assert await patch(api_server, "/hold", review(OURS, annotations)) == [
        {"op": "add", "path": "/metadata/annotations", "value": marks},
        {"op": "add", "path": "/spec/paused", "value": True},
    ]


@pytest.mark.parametrize(
    ("held", "before", "after"),
    [("webhook", "bob", "bob\nalice"), ("webhook", "alice\nbob", "alice\nbob"), (None, "bob", "alice"), ("webhook", None, "alice")],
)
async def test_everybody_who_wrote_since_the_hold_began_is_an_author(
    api_server: TestClient[Any, Any], held: str | None, before: str | None, after: str
) -> None:
    """As the policy has it, and whatever the write itself says of its author."""
    old = {**OURS, **({"linnet.dev/held": held} if held else {}), **({"linnet.dev/author": before} if before else {})}
    operations = await patch(api_server, "/hold", review(old, {**OURS, "linnet.dev/author": "mallory"}))
    assert {"op": "add", "path": "/metadata/annotations/linnet.dev~1author", "value": after} in operations


async def test_nobody_else_s_deployment_is_touched(api_server: TestClient[Any, Any]) -> None:
    """Asked by a registration that lacks the conditions, it changes nothing."""
    assert await patch(api_server, "/hold", review({"team": "shop"}, None)) == []


async def test_the_writer_is_stamped_by_name(api_server: TestClient[Any, Any]) -> None:
    """Whatever the text claims; on a Canary that is just created too."""
    said = {"linnet.dev/action": "abort@7f9c#by=mallory"}
    stamp = {"op": "add", "path": "/metadata/annotations/linnet.dev~1action-by", "value": "alice abort@7f9c#by=mallory"}
    assert await patch(api_server, "/author", review(None, said, oldObject=None)) == [stamp]
    assert await patch(api_server, "/author", review(said, None)) == []


async def test_the_largest_objects_are_read(api_server: TestClient[Any, Any]) -> None:
    """Two objects of 3 MiB in one review: a Deployment that is refused for its size would roll unjudged."""
    large = {**OURS, "notes": "x" * 3 * 2**20}
    assert (await patch(api_server, "/hold", review(large, large)))[-1] == {"op": "add", "path": "/spec/paused", "value": True}


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"request":{"uid":"u1","object":null}}', b'{"request":{"uid":"u1"}}', b"\xff"])
async def test_what_is_no_review_is_refused(api_server: TestClient[Any, Any], body: bytes) -> None:
    """The API server counts it as a failed call, and goes on."""
    async with api_server.post("/hold", data=body) as answer:
        assert answer.status == 400
        assert "not an AdmissionReview" in await answer.text()
