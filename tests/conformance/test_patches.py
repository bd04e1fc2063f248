"""What each kind of patch does, and when it does not apply."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.client import Api
from tests.conformance.objects import configmap, deployment, owners, service

DATA = {"a": "1", "b": "2"}

JSON_PATCHES: list[tuple[str, list[dict[str, Any]], dict[str, str] | None]] = [
    ("add", [{"op": "add", "path": "/data/c", "value": "3"}], {**DATA, "c": "3"}),
    ("add-over", [{"op": "add", "path": "/data/a", "value": "9"}], {**DATA, "a": "9"}),
    ("replace", [{"op": "replace", "path": "/data/a", "value": "9"}], {**DATA, "a": "9"}),
    ("replace-whole", [{"op": "replace", "path": "/data", "value": {"x": "y"}}], {"x": "y"}),
    ("remove", [{"op": "remove", "path": "/data/a"}], {"b": "2"}),
    (
        "test-then-replace",
        [{"op": "test", "path": "/data/a", "value": "1"}, {"op": "replace", "path": "/data/a", "value": "9"}],
        {**DATA, "a": "9"},
    ),
    (
        "test-whole-object",
        [{"op": "test", "path": "/data", "value": {"b": "2", "a": "1"}}, {"op": "remove", "path": "/data/b"}],
        {"a": "1"},
    ),
    ("test-of-missing-is-null", [{"op": "test", "path": "/data/zz", "value": None}, {"op": "remove", "path": "/data/b"}], {"a": "1"}),
    ("move", [{"op": "move", "from": "/data/a", "path": "/data/c"}], {"b": "2", "c": "1"}),
    ("copy", [{"op": "copy", "from": "/data/a", "path": "/data/c"}], {**DATA, "c": "1"}),
    (
        "escaped-key",
        [{"op": "add", "path": "/metadata/annotations", "value": {}}, {"op": "add", "path": "/metadata/annotations/x~1y", "value": "z"}],
        DATA,
    ),
    ("two-in-order", [{"op": "remove", "path": "/data/a"}, {"op": "add", "path": "/data/a", "value": "2"}], {**DATA, "a": "2"}),
    ("empty", [], DATA),
    ("test-fails", [{"op": "test", "path": "/data/a", "value": "2"}], None),
    (
        "test-fails-after-a-change",
        [{"op": "replace", "path": "/data/b", "value": "9"}, {"op": "test", "path": "/data/a", "value": "2"}],
        None,
    ),
    ("test-of-missing-fails", [{"op": "test", "path": "/data/zz", "value": "1"}], None),
    ("remove-missing", [{"op": "remove", "path": "/data/zz"}], None),
    ("add-below-missing", [{"op": "add", "path": "/nope/deep/x", "value": "1"}], None),
    ("move-missing", [{"op": "move", "from": "/data/zz", "path": "/data/c"}], None),
    ("unknown-operation", [{"op": "frobnicate", "path": "/data/a"}], None),
]


@pytest.mark.parametrize(("patch", "data"), [p[1:] for p in JSON_PATCHES], ids=[p[0] for p in JSON_PATCHES])
async def test_json_patch(api: Api, patch: list[dict[str, Any]], data: dict[str, str] | None) -> None:
    """It applies as a whole, or is refused with 422 Invalid and changes nothing."""
    before = (await api.create("configmaps", configmap(data=DATA))).must(201)
    answer = await api.patch("configmaps", "one", "json", patch)
    if data is not None:
        assert answer.must(200)["data"] == data
        return
    assert (answer.status, answer.body["reason"]) == (422, "Invalid")
    assert (await api.get("configmaps", "one")).must(200) == before


LISTS: list[tuple[str, list[dict[str, Any]], list[str] | None]] = [
    ("append", [{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "c"}], ["a", "b", "c"]),
    ("insert", [{"op": "add", "path": "/spec/template/spec/containers/0/args/0", "value": "c"}], ["c", "a", "b"]),
    ("replace", [{"op": "replace", "path": "/spec/template/spec/containers/0/args/1", "value": "c"}], ["a", "c"]),
    ("remove", [{"op": "remove", "path": "/spec/template/spec/containers/0/args/0"}], ["b"]),
    ("test-one", [{"op": "test", "path": "/spec/template/spec/containers/0/args/1", "value": "b"}], ["a", "b"]),
    ("test-all", [{"op": "test", "path": "/spec/template/spec/containers/0/args", "value": ["a", "b"]}], ["a", "b"]),
    ("out-of-range", [{"op": "replace", "path": "/spec/template/spec/containers/0/args/7", "value": "c"}], None),
    ("no-number", [{"op": "add", "path": "/spec/template/spec/containers/0/args/x", "value": "c"}], None),
    ("test-order", [{"op": "test", "path": "/spec/template/spec/containers/0/args", "value": ["b", "a"]}], None),
]


@pytest.mark.parametrize(("patch", "args"), [p[1:] for p in LISTS], ids=[p[0] for p in LISTS])
async def test_json_patch_of_a_list(api: Api, patch: list[dict[str, Any]], args: list[str] | None) -> None:
    """Positions in lists."""
    obj = deployment()
    obj["spec"]["template"]["spec"]["containers"][0]["args"] = ["a", "b"]
    (await api.create("deployments", obj)).must(201)
    answer = await api.patch("deployments", "web", "json", patch)
    if args is None:
        assert answer.status == 422
    else:
        assert answer.must(200)["spec"]["template"]["spec"]["containers"][0]["args"] == args


async def test_a_test_of_the_whole_template_guards_the_release_of_a_pause(api: Api) -> None:
    """The patch that releases a hold is refused once another template has landed."""
    created = (await api.create("deployments", deployment(paused=True))).must(201)
    release = [
        {"op": "test", "path": "/spec/template", "value": created["spec"]["template"]},
        {"op": "replace", "path": "/spec/paused", "value": False},
    ]
    image = {"spec": {"template": {"spec": {"containers": [{"name": "app", "image": "app:2"}]}}}}
    (await api.patch("deployments", "web", "strategic", image)).must(200)
    assert (await api.patch("deployments", "web", "json", release)).status == 422
    (
        await api.patch(
            "deployments", "web", "strategic", {"spec": {"template": {"spec": {"containers": [{"name": "app", "image": "app:1"}]}}}}
        )
    ).must(200)
    assert "paused" not in (await api.patch("deployments", "web", "json", release)).must(200)["spec"]


@pytest.mark.parametrize("operations", ['{"op": "add"}', '"text"', "garbage"])
async def test_a_json_patch_that_is_no_list_is_a_bad_request(api: Api, operations: str) -> None:
    """400, not 422: it is not a patch at all."""
    (await api.create("configmaps", configmap(data=DATA))).must(201)
    answer = await api.patch("configmaps", "one", "json", operations)
    assert (answer.status, answer.body["reason"]) == (400, "BadRequest")


MERGES: list[tuple[str, dict[str, Any], dict[str, str] | None]] = [
    ("set", {"data": {"a": "9"}}, {**DATA, "a": "9"}),
    ("add", {"data": {"c": "3"}}, {**DATA, "c": "3"}),
    ("null-removes", {"data": {"a": None}}, {"b": "2"}),
    ("null-removes-all", {"data": None}, None),
    ("null-of-missing", {"data": {"zz": None}}, DATA),
    ("empty", {}, DATA),
]


@pytest.mark.parametrize(("patch", "data"), [p[1:] for p in MERGES], ids=[p[0] for p in MERGES])
async def test_merge_patch(api: Api, patch: dict[str, Any], data: dict[str, str] | None) -> None:
    """RFC 7396."""
    (await api.create("configmaps", configmap(data=DATA))).must(201)
    assert (await api.patch("configmaps", "one", "merge", patch)).must(200).get("data") == data


async def test_a_merge_patch_replaces_lists(api: Api) -> None:
    """A list is one value to a merge patch."""
    (await api.create("services", service(ports=[{"name": "a", "port": 1}, {"name": "b", "port": 2}]))).must(201)
    patched = (await api.patch("services", "web", "merge", {"spec": {"ports": [{"name": "c", "port": 3}]}})).must(200)
    assert [p["name"] for p in patched["spec"]["ports"]] == ["c"]


async def test_a_patch_with_a_stale_version_conflicts(api: Api) -> None:
    """A resourceVersion in a patch is a precondition."""
    (await api.create("configmaps", configmap(data=DATA))).must(201)
    answer = await api.patch("configmaps", "one", "merge", {"metadata": {"resourceVersion": "1"}, "data": {"a": "9"}})
    assert (answer.status, answer.body["reason"]) == (409, "Conflict")


def _app(**container: Any) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"containers": [{"name": "app", **container}]}}}}


CONTAINERS: list[tuple[str, dict[str, Any], Any]] = [
    ("image", _app(image="app:2"), lambda c: [x["image"] for x in c] == ["app:2", "side:1"]),
    ("add-container", {"spec": {"template": {"spec": {"containers": [{"name": "new", "image": "n:1"}]}}}}, lambda c: {x["name"] for x in c} == {"new", "app", "side"}),
    ("delete-container", {"spec": {"template": {"spec": {"containers": [{"name": "side", "$patch": "delete"}]}}}}, lambda c: [x["name"] for x in c] == ["app"]),
    ("replace-containers", {"spec": {"template": {"spec": {"containers": [{"name": "x", "image": "x:1"}, {"$patch": "replace"}]}}}}, lambda c: [x["name"] for x in c] == ["x"]),
    ("env-merges", _app(env=[{"name": "A", "value": "9"}]), lambda c: {e["name"]: e["value"] for e in c[0]["env"]} == {"A": "9", "B": "2"}),
    ("env-adds", _app(env=[{"name": "C", "value": "3"}]), lambda c: {e["name"] for e in c[0]["env"]} == {"A", "B", "C"}),
    ("env-deletes", _app(env=[{"name": "A", "$patch": "delete"}]), lambda c: [e["name"] for e in c[0]["env"]] == ["B"]),
    ("ports-merge", _app(ports=[{"containerPort": 80, "name": "http"}]), lambda c: c[0]["ports"] == [{"containerPort": 80, "name": "http", "protocol": "TCP"}]),
    ("ports-add", _app(ports=[{"containerPort": 81}]), lambda c: sorted(p["containerPort"] for p in c[0]["ports"]) == [80, 81]),
    ("args-replace", _app(args=["z"]), lambda c: c[0]["args"] == ["z"]),
    ("null-removes", _app(args=None), lambda c: "args" not in c[0]),
    ("order-set", {"spec": {"template": {"spec": {"$setElementOrder/containers": [{"name": "side"}, {"name": "app"}]}}}}, lambda c: [x["name"] for x in c] == ["side", "app"]),
    ("resources-merge", _app(resources={"limits": {"cpu": "1"}}), lambda c: c[0]["resources"]["limits"] == {"cpu": "1"}),
]  # fmt: skip


@pytest.mark.parametrize(("patch", "holds"), [c[1:] for c in CONTAINERS], ids=[c[0] for c in CONTAINERS])
async def test_strategic_merge_of_containers(api: Api, patch: dict[str, Any], holds: Any) -> None:
    """Lists merge by the keys of their type."""
    obj = deployment()
    obj["spec"]["template"]["spec"]["containers"] = [
        {
            "name": "app",
            "image": "app:1",
            "args": ["a"],
            "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
            "ports": [{"containerPort": 80}],
        },
        {"name": "side", "image": "side:1"},
    ]
    (await api.create("deployments", obj)).must(201)
    patched = (await api.patch("deployments", "web", "strategic", patch)).must(200)
    assert holds(patched["spec"]["template"]["spec"]["containers"])


async def test_strategic_merge_replaces_a_map_on_request(api: Api) -> None:
    """`$patch: replace` takes the object as it stands in the patch."""
    (await api.create("deployments", deployment())).must(201)
    patch = {"spec": {"strategy": {"$patch": "replace", "type": "Recreate"}}}
    assert (await api.patch("deployments", "web", "strategic", patch)).must(200)["spec"]["strategy"] == {"type": "Recreate"}


async def test_strategic_merge_keeps_only_the_retained_keys(api: Api) -> None:
    """`$retainKeys` drops the rolling update parameters with the strategy they belong to."""
    (await api.create("deployments", deployment())).must(201)
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert (await api.patch("deployments", "web", "strategic", patch)).must(200)["spec"]["strategy"] == {"type": "Recreate"}


async def test_strategic_merge_of_finalizers(api: Api) -> None:
    """A list of texts with the merge strategy is a set; `$deleteFromPrimitiveList` takes from it."""
    (await api.create("configmaps", configmap(finalizers=["a.b/c"]))).must(201)
    added = (await api.patch("configmaps", "one", "strategic", {"metadata": {"finalizers": ["d.e/f"]}})).must(200)
    assert sorted(added["metadata"]["finalizers"]) == ["a.b/c", "d.e/f"]
    patch = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a.b/c", "d.e/f"]}}
    assert "finalizers" not in (await api.patch("configmaps", "one", "strategic", patch)).must(200)["metadata"]


async def test_an_unknown_kind_of_patch_is_refused(api: Api) -> None:
    """415."""
    (await api.create("configmaps", configmap())).must(201)
    answer = await api.raw("PATCH", api.path("configmaps", "one"), {}, content="application/foo")
    assert (answer.status, answer.body["reason"]) == (415, "UnsupportedMediaType")


async def test_custom_resources_have_no_strategic_merge(widgets: Api) -> None:
    """415 with the kinds that are known: their lists have no merge keys."""
    answer = await widgets.patch("widgets", "none", "strategic", {})
    assert answer.status == 415
    assert "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml" in answer.body["message"]


@pytest.mark.parametrize("kind", ["json", "merge", "strategic"])
async def test_a_patch_of_nothing_is_not_found(api: Api, kind: str) -> None:
    """Only an apply creates."""
    answer = await api.patch("configmaps", "none", kind, [] if kind == "json" else {})
    assert (answer.status, answer.body["reason"]) == (404, "NotFound")


async def test_each_patch_is_an_update_by_its_manager(api: Api) -> None:
    """The manager is the parameter, else the first word of the User-Agent; a leaf changed by another is taken over."""
    (await api.create("configmaps", configmap(data=DATA), fieldManager="one")).must(201)
    (await api.patch("configmaps", "one", "json", [{"op": "replace", "path": "/data/a", "value": "9"}], fieldManager="two")).must(200)
    after = (
        await api.raw(
            "PATCH", api.path("configmaps", "one"), {"data": {"c": "3"}}, content="application/merge-patch+json", agent="three/1.0 (x)"
        )
    ).must(200)
    assert owners(after) == {
        ("one", "Update", ""): {"f:data": {".": {}, "f:b": {}}},
        ("two", "Update", ""): {"f:data": {"f:a": {}}},
        ("three", "Update", ""): {"f:data": {"f:c": {}}},
    }
