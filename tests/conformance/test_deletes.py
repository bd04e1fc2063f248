"""Deleting: at once, with finalizers, with grace, with dependents."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.client import Api
from tests.conformance.objects import configmap, deployment, pod, widget


async def test_a_delete_without_hindrance_is_done_at_once(api: Api) -> None:
    """A Status with the identity of what went."""
    created = (await api.create("configmaps", configmap())).must(201)
    answer = (await api.delete("configmaps", "one")).must(200)
    assert (answer["kind"], answer["status"]) == ("Status", "Success")
    assert answer["details"] == {"name": "one", "kind": "configmaps", "uid": created["metadata"]["uid"]}
    assert (await api.get("configmaps", "one")).status == 404


async def test_a_finalizer_keeps_the_object(api: Api) -> None:
    """It is marked, and goes with its last finalizer; a second delete changes nothing."""
    (await api.create("configmaps", configmap(finalizers=["a.b/c", "d.e/f"]))).must(201)
    marked = (await api.delete("configmaps", "one")).must(200)
    assert marked["metadata"]["deletionTimestamp"]
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 0
    assert (await api.delete("configmaps", "one")).must(200) == marked
    (await api.patch("configmaps", "one", "merge", {"metadata": {"finalizers": ["d.e/f"]}})).must(200)
    assert (await api.get("configmaps", "one")).status == 200
    (await api.patch("configmaps", "one", "merge", {"metadata": {"finalizers": None}})).must(200)
    assert (await api.get("configmaps", "one")).status == 404


async def test_no_finalizer_is_added_to_what_is_being_deleted(api: Api) -> None:
    """422 naming metadata.finalizers."""
    (await api.create("configmaps", configmap(finalizers=["a.b/c"]))).must(201)
    (await api.delete("configmaps", "one")).must(200)
    answer = await api.patch("configmaps", "one", "merge", {"metadata": {"finalizers": ["a.b/c", "d.e/f"]}})
    assert (answer.status, set(answer.fields)) == (422, {"metadata.finalizers"})


async def test_what_is_being_deleted_can_still_be_changed(api: Api) -> None:
    """And keeps its deletion timestamp, whatever the writer sends."""
    (await api.create("configmaps", configmap(finalizers=["a.b/c"]))).must(201)
    marked = (await api.delete("configmaps", "one")).must(200)
    after = (await api.patch("configmaps", "one", "merge", {"data": {"a": "1"}, "metadata": {"deletionTimestamp": None}})).must(200)
    assert after["metadata"]["deletionTimestamp"] == marked["metadata"]["deletionTimestamp"]


async def test_the_deletion_of_a_custom_resource_counts_as_a_generation(widgets: Api) -> None:
    """Its controller sees a new generation."""
    obj = widget()
    obj["metadata"]["finalizers"] = ["a.b/c"]
    (await widgets.create("widgets", obj)).must(201)
    assert (await widgets.delete("widgets", "w")).must(200)["metadata"]["generation"] == 2
    (await widgets.patch("widgets", "w", "merge", {"metadata": {"finalizers": None}})).must(200)


PROPAGATIONS = [("Foreground", ["foregroundDeletion"]), ("Orphan", ["orphan"])]


@pytest.mark.parametrize(("policy", "finalizers"), PROPAGATIONS, ids=[p for p, _ in PROPAGATIONS])
@pytest.mark.parametrize("way", ["body", "query"])
async def test_propagation_is_a_finalizer(api: Api, policy: str, finalizers: list[str], way: str) -> None:
    """The garbage collector takes it off when the dependents are dealt with."""
    (await api.create("configmaps", configmap())).must(201)
    options = {"propagationPolicy": policy}
    answer = await (
        api.delete("configmaps", "one", options) if way == "body" else api.delete("configmaps", "one", propagationPolicy=policy)
    )
    assert answer.must(200)["metadata"]["finalizers"] == finalizers


async def test_background_deletes_at_once(api: Api) -> None:
    """Dependents are collected later."""
    (await api.create("configmaps", configmap())).must(201)
    (await api.delete("configmaps", "one", {"propagationPolicy": "Background"})).must(200)
    assert (await api.get("configmaps", "one")).status == 404


async def test_an_unknown_propagation_is_refused(api: Api) -> None:
    """422 naming propagationPolicy."""
    answer = await api.delete("configmaps", "one", {"propagationPolicy": "Sideways"})
    assert (answer.status, answer.fields) == (422, ["propagationPolicy"])


@pytest.mark.parametrize(
    "precondition", [{"uid": "00000000-0000-0000-0000-000000000000"}, {"resourceVersion": "1"}], ids=["uid", "version"]
)
async def test_a_delete_may_be_bound_to_one_identity(api: Api, precondition: dict[str, str]) -> None:
    """409 where it is another object, or another version of it."""
    created = (await api.create("configmaps", configmap())).must(201)
    answer = await api.delete("configmaps", "one", {"preconditions": precondition})
    assert (answer.status, answer.body["reason"]) == (409, "Conflict")
    right = {k: created["metadata"][k] for k in precondition}
    (await api.delete("configmaps", "one", {"preconditions": right})).must(200)


async def test_a_pod_on_a_node_is_given_its_grace(api: Api) -> None:
    """It stays, marked, until the node deletes it with grace 0; a shorter grace brings the end forward, a longer one does not put it off."""
    (await api.create("pods", pod(nodeName="nowhere", terminationGracePeriodSeconds=20))).must(201)
    marked = (await api.delete("pods", "pod")).must(200)
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 20
    assert marked["metadata"]["deletionTimestamp"] > marked["metadata"]["creationTimestamp"]
    assert (await api.delete("pods", "pod", {"gracePeriodSeconds": 60})).must(200)["metadata"]["deletionGracePeriodSeconds"] == 20
    assert (await api.delete("pods", "pod", {"gracePeriodSeconds": 5})).must(200)["metadata"]["deletionGracePeriodSeconds"] == 5
    (await api.delete("pods", "pod", {"gracePeriodSeconds": 0})).must(200)
    assert (await api.get("pods", "pod")).status == 404


async def test_a_pod_without_a_node_goes_at_once(api: Api) -> None:
    """There is nobody to end it."""
    (await api.create("pods", pod(schedulingGates=[{"name": "example.com/wait"}]))).must(201)
    (await api.delete("pods", "pod")).must(200)
    assert (await api.get("pods", "pod")).status == 404


async def test_an_eviction_is_a_graceful_delete(api: Api) -> None:
    """201, and the pod is marked."""
    (await api.create("pods", pod(nodeName="nowhere"))).must(201)
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "pod", "namespace": api.ns}}
    (await api.raw("POST", api.path("pods", "pod", "eviction"), eviction)).must(201)
    assert (await api.get("pods", "pod")).must(200)["metadata"]["deletionTimestamp"]


async def test_a_collection_is_deleted_by_its_selector(api: Api) -> None:
    """What does not match stays."""
    for name, labels in (("a", {"x": "y"}), ("b", {"x": "y"}), ("c", {"x": "z"})):
        (await api.create("configmaps", configmap(name, labels=labels))).must(201)
    (await api.raw("DELETE", api.path("configmaps"), labelSelector="x=y")).must(200)
    left = (await api.list("configmaps", labelSelector="x")).must(200)
    assert [o["metadata"]["name"] for o in left["items"]] == ["c"]


async def test_a_name_can_be_used_again(api: Api) -> None:
    """With another identity."""
    first = (await api.create("deployments", deployment())).must(201)
    (await api.delete("deployments", "web")).must(200)
    second = (await api.create("deployments", deployment())).must(201)
    assert second["metadata"]["uid"] != first["metadata"]["uid"]


async def test_a_namespace_takes_its_objects_along(api: Api) -> None:
    """Nothing can be created in it any more, and in the end it is gone with all that was in it."""
    inner = api.elsewhere(f"{api.ns}-x")
    path = f"/api/v1/namespaces/{inner.ns}"
    (await api.raw("POST", "/api/v1/namespaces", {"metadata": {"name": inner.ns}})).must(201)
    (await inner.create("configmaps", configmap(finalizers=["a.b/c"]))).must(201)
    (await inner.create("configmaps", configmap("two"))).must(201)
    (await api.raw("DELETE", path)).must(200)
    namespace = (await api.raw("GET", path)).must(200)
    assert (namespace["status"]["phase"], bool(namespace["metadata"]["deletionTimestamp"])) == ("Terminating", True)
    refused: Any = await inner.create("configmaps", configmap("three"))
    assert (refused.status, refused.body["details"]["causes"][0]["reason"]) == (403, "NamespaceTerminating")
    await api.eventually(lambda: inner.get("configmaps", "two"), 404)
    (await inner.patch("configmaps", "one", "merge", {"metadata": {"finalizers": None}})).must(200)
    await api.eventually(lambda: api.raw("GET", path), 404)
