"""The verbs: what goes over the wire for each, and status writes only when something is new."""

from typing import Any

import msgspec
import pytest
from aiohttp import web

from daemon.kube import errors, patch
from daemon.kube.client import Client
from daemon.kube.objects import Deployment, HTTPRoute, LabelSelector, ObjectMeta, Pod, Secret, detach, untyped
from daemon.kube.resources import DEPLOYMENTS, NAMESPACES, PODS, custom
from daemon.kube.status import StatusWriter
from tests.unit.kube.server import client_of, deployment, listing, serving, status
from tests.unit.kube.virtual import run


async def echo(request: web.Request) -> web.StreamResponse:
    return web.json_response(deployment("a", 1))


def test_each_way_of_writing_says_what_it_is() -> None:
    """Content type, field manager, force, subresource and dry run are explicit in the request."""

    async def main() -> None:
        async with serving() as server:
            server.handler = echo
            async with client_of(server) as client:
                await client.apply(DEPLOYMENTS, "shop", "a", {"spec": {"replicas": 2}}, force=False)
                await client.apply(DEPLOYMENTS, "shop", "a", {}, force=True)
                await client.json_patch(DEPLOYMENTS, "shop", "a", [patch.test("/a", 1)])
                await client.merge_patch(DEPLOYMENTS, "shop", "a", {"x": None}, subresource="status")
                await Client(client.transport, dry_run=True, field_manager="other").create(DEPLOYMENTS, "shop", {"metadata": {"name": "a"}})
                await client.delete(DEPLOYMENTS, "shop", "a", uid="u1", propagation="Orphan")
            path = "/apis/apps/v1/namespaces/shop/deployments"
            assert [(m, p) for _, m, p in server.requests] == [
                ("PATCH", f"{path}/a?fieldManager=linnet"),
                ("PATCH", f"{path}/a?fieldManager=linnet&force=true"),
                ("PATCH", f"{path}/a?fieldManager=linnet"),
                ("PATCH", f"{path}/a/status?fieldManager=linnet"),
                ("POST", f"{path}?fieldManager=other&dryRun=All"),
                ("DELETE", f"{path}/a"),
            ]
            assert [h.get("Content-Type") for h in server.headers][:4] == [
                "application/apply-patch+yaml",
                "application/apply-patch+yaml",
                "application/json-patch+json",
                "application/merge-patch+json",
            ]
            assert server.bodies[0] == {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "spec": {"replicas": 2},
                "metadata": {"name": "a", "namespace": "shop"},
            }
            assert server.bodies[5]["preconditions"] == {"uid": "u1"}
            assert server.bodies[5]["propagationPolicy"] == "Orphan"

    run(main())


def test_a_list_is_read_page_by_page_and_survives_an_expired_token() -> None:
    """All objects once, in order, whichever way it had to be read."""

    async def main() -> None:
        async with serving() as server:

            async def handler(request: web.Request) -> web.StreamResponse:
                token = request.query.get("continue", "")
                if token == "expired":
                    return status(410, "Expired")
                if "limit" not in request.query:
                    return listing(9, deployment("a", 1), deployment("b", 2))
                nxt = "expired" if request.query.get("labelSelector") else "two"
                return listing(8, deployment("a", 1), token=nxt) if not token else listing(8, deployment("b", 2))

            server.handler = handler
            async with client_of(server) as client:
                page = await client.list(DEPLOYMENTS, "shop", limit=1)
                assert ([d.name for d in page.items], page.resource_version) == (["a", "b"], "8")
                page = await client.list(DEPLOYMENTS, "shop", limit=1, label_selector="x=y")
                assert ([d.name for d in page.items], page.resource_version) == (["a", "b"], "9")

    run(main())


@pytest.mark.parametrize("body", [b"<html></html>", b'{"kind":"Status"}', b"[]", b'{"kind":"PodList","items":7}', b"\xff\xfe"])
def test_a_reply_of_another_shape_is_a_bad_response(body: bytes) -> None:
    """A proxy's 200 never becomes an empty list."""

    async def main() -> None:
        async with serving() as server:

            async def handler(request: web.Request) -> web.StreamResponse:
                return web.Response(body=body)

            server.handler = handler
            async with client_of(server) as client:
                with pytest.raises(errors.BadResponse):
                    await client.list(PODS)

    run(main())


def test_find_and_delete_treat_absence_as_an_answer() -> None:
    """None and False instead of an error, since the caller asked whether."""

    async def main() -> None:
        async with serving() as server, client_of(server) as client:
            assert await client.find(PODS, "shop", "a") is None
            assert await client.delete(PODS, "shop", "a") is False

    run(main())


@pytest.mark.parametrize("name", ["../secrets/x", "a/b", "", "a?b", "a b", "-a"])
def test_a_name_that_is_no_name_never_becomes_a_path(name: str) -> None:
    """User input in a path cannot reach another resource."""
    with pytest.raises(ValueError, match="no Kubernetes name"):
        PODS.path("shop", name)


def test_namespaces_are_demanded_and_refused_where_they_belong() -> None:
    """A namespaced kind needs one, a cluster-scoped kind has none."""
    with pytest.raises(ValueError, match="needs a namespace"):
        PODS.path("", "a")
    with pytest.raises(ValueError, match="cluster-scoped"):
        NAMESPACES.path("shop", "a")
    assert NAMESPACES.path(None, "shop") == "/api/v1/namespaces/shop"
    canaries = custom("linnet.dev", "v1alpha1", "canaries", "Canary", Deployment)
    assert canaries.path("shop", "a", "status") == "/apis/linnet.dev/v1alpha1/namespaces/shop/canaries/a/status"


def test_status_is_written_only_when_it_differs_and_a_lost_race_surfaces() -> None:
    """Equal as JSON costs no request; a removed field is a null; a conflict is the caller's to decide."""

    async def main() -> None:
        async with serving() as server:
            server.handler = echo
            item = Deployment(metadata=ObjectMeta(namespace="shop", name="a", resource_version="7"))
            async with client_of(server) as client:
                writer = StatusWriter(client, DEPLOYMENTS)
                now = msgspec.Raw(b'{"phase":"Stepping","old":1,"list":[1,2]}')
                assert await writer.write(item, now, {"list": [1, 2], "old": 1, "phase": "Stepping", "absent": None}) is None
                assert server.requests == []
                assert await writer.write(item, now, {"phase": "Done", "list": [1, 2], "deep": {"x": None, "y": 1}}) is not None
                assert server.bodies == [{"metadata": {"resourceVersion": "7"}, "status": {"old": None, "phase": "Done", "deep": {"y": 1}}}]

                async def conflict(request: web.Request) -> web.StreamResponse:
                    return status(409, "Conflict")

                server.handler = conflict
                with pytest.raises(errors.Conflict):
                    await writer.write(item, None, {"phase": "Done"})

    run(main())


def test_raw_fields_are_kept_byte_for_byte_and_let_go_of_the_reply() -> None:
    """A detached object holds its own copy, also of what is nested, and absent raw fields stay absent when written."""
    body = b'{"metadata":{"name":"a","managedFields":[{"x":1}]},"spec":{"template":{"b": 1,  "a":2}}, "unknown": 1}'
    item = msgspec.json.decode(body, type=Deployment)
    before = item.spec.template
    detach(item)
    assert item.spec.template is not before
    assert bytes(item.spec.template) == b'{"b": 1,  "a":2}'
    assert untyped(item.metadata.managed_fields) == [{"x": 1}]
    assert msgspec.json.encode(detach(Deployment(metadata=ObjectMeta(name="a")))) == b'{"metadata":{"name":"a"}}'
    route = detach(msgspec.json.decode(b'{"spec":{"rules":[1]},"status":{"parents":[{"controllerName":"c"}]}}', type=HTTPRoute))
    assert bytes(route.spec.rules) == b"[1]"
    assert route.status.parents is not None
    assert route.status.parents[0].controller_name == "c"


def test_a_pod_tells_its_readiness_and_restarts() -> None:
    """The few questions everyone asks of a pod are answered in one place, with nulls as Go writes them."""
    body: dict[str, Any] = {
        "metadata": {"name": "p", "labels": None},
        "spec": {"containers": [{"name": "app", "ports": [{"containerPort": 8080}]}]},
        "status": {
            "podIP": "10.0.0.1",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}, {"restartCount": 1}],
        },
    }
    pod = msgspec.json.decode(msgspec.json.encode(body), type=Pod)
    assert (pod.ready, pod.restarts, pod.status.pod_ip) == (True, 3, "10.0.0.1")
    assert not Pod().ready


def test_a_secret_never_shows_its_values() -> None:
    """Neither repr nor str of a Secret holds what is in it, and values come decoded."""
    secret = msgspec.json.decode(b'{"metadata":{"name":"s"},"data":{"token":"cGxhbnRlZA=="}}', type=Secret)
    assert secret.value("token") == b"planted"
    assert "planted" not in f"{secret!r} {secret}"
    assert "cGxhbnRlZA" not in repr(secret)


@pytest.mark.parametrize(
    ("selector", "labels", "matches"),
    [
        ({}, {"a": "b"}, True),
        ({"matchLabels": {"a": "b"}}, {"a": "b", "c": "d"}, True),
        ({"matchLabels": {"a": "b"}}, {"a": "x"}, False),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["x", "y"]}]}, {"a": "y"}, True),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["x", "y"]}]}, {}, False),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["x"]}]}, {}, True),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["x"]}]}, {"a": "x"}, False),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {"a": ""}, True),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, {"a": ""}, False),
    ],
)
def test_selectors_match_as_the_api_server_matches(selector: dict[str, Any], labels: dict[str, str], matches: bool) -> None:
    """All four operators, with and without the label."""
    assert msgspec.json.decode(msgspec.json.encode(selector), type=LabelSelector).matches(labels) is matches
