"""Lists: selectors, pages, revisions, tables; and what the server says of itself."""

from __future__ import annotations

import pytest

from tests.conformance.client import Api
from tests.conformance.objects import configmap, deployment, pod

LABELS = {"a": {"app": "web", "tier": "front"}, "b": {"app": "web", "tier": "back"}, "c": {"app": "db"}, "d": {}}

SELECTORS = [
    ("app=web", "ab"), ("app==web", "ab"), ("app!=web", "cd"), ("app in (web,db)", "abc"), ("app in (db)", "c"), ("app notin (web)", "cd"),
    ("app", "abc"), ("!app", "d"), ("tier", "ab"), ("app=web,tier=back", "b"), ("app=web,tier!=back", "a"), ("app=web,!tier", ""),
    ("app,tier notin (front)", "bc"), ("app=none", ""),
]  # fmt: skip


async def _four(api: Api) -> None:
    for name, labels in LABELS.items():
        (await api.create("configmaps", configmap(name, labels={"set": "four", **labels}))).must(201)


@pytest.mark.parametrize(("selector", "names"), SELECTORS, ids=[s for s, _ in SELECTORS])
async def test_label_selectors(api: Api, selector: str, names: str) -> None:
    """Equality, sets and presence, all of them together."""
    await _four(api)
    listed = (await api.list("configmaps", labelSelector=f"set=four,{selector}")).must(200)
    assert "".join(o["metadata"]["name"] for o in listed["items"]) == names


async def test_a_selector_that_cannot_be_read_is_a_bad_request(api: Api) -> None:
    """400."""
    assert (await api.list("configmaps", labelSelector="a b c")).status == 400


FIELDS = [
    ("metadata.name=a", "a"),
    ("metadata.name!=a", "b"),
    ("spec.nodeName=nowhere", "a"),
    ("status.phase=Pending", "ab"),
    ("status.phase=Running", ""),
    ("spec.nodeName=", "b"),
]


@pytest.mark.parametrize(("selector", "names"), FIELDS, ids=[s for s, _ in FIELDS])
async def test_field_selectors(api: Api, selector: str, names: str) -> None:
    """The fields that pods can be selected by."""
    (await api.create("pods", pod("a", nodeName="nowhere"))).must(201)
    (await api.create("pods", pod("b", schedulingGates=[{"name": "example.com/wait"}]))).must(201)
    listed = (await api.list("pods", fieldSelector=selector)).must(200)
    assert "".join(o["metadata"]["name"] for o in listed["items"]) == names


async def test_a_field_that_cannot_be_selected_by_is_a_bad_request(api: Api) -> None:
    """400 with the field's name, and with those that can be."""
    answer = await api.list("configmaps", fieldSelector="data.a=b")
    assert (answer.status, answer.body["message"]) == (
        400,
        '"data.a" is not a known field selector: only "metadata.name", "metadata.namespace"',
    )


async def test_a_list_is_in_order_and_has_a_version(api: Api) -> None:
    """By name, under the list's kind."""
    await _four(api)
    listed = (await api.list("configmaps", labelSelector="set=four")).must(200)
    assert [o["metadata"]["name"] for o in listed["items"]] == ["a", "b", "c", "d"]
    assert (listed["kind"], listed["apiVersion"]) == ("ConfigMapList", "v1")
    assert int(listed["metadata"]["resourceVersion"]) >= max(int(o["metadata"]["resourceVersion"]) for o in listed["items"])


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
async def test_a_list_in_pages_is_the_same_list(api: Api, limit: int) -> None:
    """Every object once, in order, all pages at one revision even when something is written meanwhile."""
    await _four(api)
    names: list[str] = []
    versions = set()
    query = {"labelSelector": "set=four", "limit": limit}
    page = (await api.list("configmaps", **query)).must(200)
    (await api.create("configmaps", configmap("bb", labels={"set": "four"}))).must(201)
    while True:
        names += [o["metadata"]["name"] for o in page["items"]]
        versions.add(page["metadata"]["resourceVersion"])
        token = page["metadata"].get("continue")
        if not token:
            break
        page = (await api.list("configmaps", **query, **{"continue": token})).must(200)
    assert names == ["a", "b", "c", "d"]
    assert len(versions) == 1


async def test_a_continue_token_that_is_none_is_a_bad_request(api: Api) -> None:
    """400."""
    assert (await api.list("configmaps", limit=1, **{"continue": "abc"})).status == 400


async def test_a_list_at_an_exact_version_shows_the_past(api: Api) -> None:
    """`resourceVersionMatch=Exact`."""
    first = (await api.create("configmaps", configmap("a", labels={"x": "y"}))).must(201)["metadata"]["resourceVersion"]
    (await api.create("configmaps", configmap("b", labels={"x": "y"}))).must(201)
    listed = (await api.list("configmaps", labelSelector="x=y", resourceVersion=first, resourceVersionMatch="Exact")).must(200)
    assert [o["metadata"]["name"] for o in listed["items"]] == ["a"]
    assert listed["metadata"]["resourceVersion"] == first


async def test_a_list_at_a_version_to_come_times_out(api: Api) -> None:
    """504 with a cause that clients know."""
    answer = await api.list("configmaps", resourceVersion=99999999)
    assert (answer.status, answer.body["reason"]) == (504, "Timeout")
    assert answer.body["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


async def test_a_list_at_version_zero_is_any_list(api: Api) -> None:
    """As informers ask first."""
    (await api.create("configmaps", configmap())).must(201)
    await api.eventually(lambda: api.list("configmaps", resourceVersion=0, limit=500), 200)


TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


async def test_a_table_of_deployments(api: Api) -> None:
    """The columns that kubectl prints."""
    (await api.create("deployments", deployment())).must(201)
    table = (await api.list("deployments", accept=TABLE)).must(200)
    shown = [c["name"] for c in table["columnDefinitions"] if c["priority"] == 0]
    assert (table["kind"], shown) == ("Table", ["Name", "Ready", "Up-to-date", "Available", "Age"])
    assert table["rows"][0]["cells"][:4] == ["web", "0/0", 0, 0]


async def test_a_table_of_one_object(api: Api) -> None:
    """A GET can be a table as well, with or without the object."""
    (await api.create("configmaps", configmap(data={"a": "1", "b": "2"}))).must(201)
    table = (await api.get("configmaps", "one", accept=TABLE, includeObject="Object")).must(200)
    assert table["rows"][0]["cells"][:2] == ["one", 2]
    assert table["rows"][0]["object"]["data"] == {"a": "1", "b": "2"}
    bare = (await api.get("configmaps", "one", accept=TABLE, includeObject="None")).must(200)
    assert not bare["rows"][0].get("object")


async def test_metadata_alone(api: Api) -> None:
    """`PartialObjectMetadata`, for those who watch many objects."""
    (await api.create("configmaps", configmap(data={"a": "1"}))).must(201)
    one = (await api.get("configmaps", "one", accept="application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1")).must(200)
    assert (one["kind"], "data" in one) == ("PartialObjectMetadata", False)
    many = (await api.list("configmaps", accept="application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1")).must(200)
    assert many["kind"] == "PartialObjectMetadataList"


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz"])
async def test_health(api: Api, path: str) -> None:
    """A plain ok."""
    answer = await api.raw("GET", path)
    assert (answer.status, answer.body) == (200, "ok")


async def test_the_version_is_the_one_that_has_mutating_policies(api: Api) -> None:
    """1.36."""
    version = (await api.raw("GET", "/version")).must(200)
    assert (version["major"], version["minor"]) == ("1", "36")


GROUPS = [
    ("/api/v1", "pods", "po"), ("/apis/apps/v1", "deployments", "deploy"), ("/apis/discovery.k8s.io/v1", "endpointslices", ""),
    ("/apis/coordination.k8s.io/v1", "leases", ""), ("/apis/autoscaling/v2", "horizontalpodautoscalers", "hpa"),
    ("/apis/policy/v1", "poddisruptionbudgets", "pdb"), ("/apis/admissionregistration.k8s.io/v1", "mutatingadmissionpolicies", ""),
    ("/apis/apiextensions.k8s.io/v1", "customresourcedefinitions", "crd"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "name", "short"), GROUPS, ids=[n for _, n, _ in GROUPS])
async def test_discovery(api: Api, path: str, name: str, short: str) -> None:
    """Each group lists its resources, and is listed."""
    found = {r["name"]: r for r in (await api.raw("GET", path)).must(200)["resources"]}
    assert "watch" in found[name]["verbs"]
    assert short in [*found[name].get("shortNames", []), ""]
    if path != "/api/v1":
        groups = (await api.raw("GET", "/apis")).must(200)["groups"]
        assert path.split("/")[2] in [g["name"] for g in groups]


async def test_discovery_in_one_answer(api: Api) -> None:
    """The aggregated form that kubectl prefers."""
    answer = await api.raw("GET", "/apis", accept="application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
    apps = next(i for i in answer.must(200)["items"] if i["metadata"]["name"] == "apps")
    deployments = next(r for r in apps["versions"][0]["resources"] if r["resource"] == "deployments")
    assert {s["subresource"] for s in deployments["subresources"]} == {"scale", "status"}


async def test_openapi_names_merge_keys_and_field_validation(api: Api) -> None:
    """What `kubectl apply` reads before it patches."""
    (await api.raw("GET", "/openapi/v3")).must(200)["paths"]["apis/apps/v1"]
    document = (await api.raw("GET", "/openapi/v3/apis/apps/v1")).must(200)
    containers = document["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"]
    assert containers["x-kubernetes-patch-merge-key"] == "name"
    patch = document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
    assert "fieldValidation" in [p["name"] for p in patch["parameters"]]


async def test_everybody_in_these_tests_may_everything(api: Api) -> None:
    """A SelfSubjectAccessReview."""
    review = {"spec": {"resourceAttributes": {"verb": "delete", "resource": "pods", "namespace": api.ns}}}
    answer = await api.raw("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
    assert answer.must(201)["status"]["allowed"] is True


async def test_who_am_i(api: Api) -> None:
    """A SelfSubjectReview."""
    answer = await api.raw("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {})
    assert answer.must(201)["status"]["userInfo"]["username"] == api.user
