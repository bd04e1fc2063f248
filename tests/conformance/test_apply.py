"""Server-side apply and who owns what."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.client import Api
from tests.conformance.objects import changed, configmap, deployment, owners, service, widget

APPLY, UPDATE = "Apply", "Update"


async def test_an_apply_creates_and_owns_what_it_names(api: Api) -> None:
    """201; the manager owns the named fields and nothing that was defaulted."""
    created = (await api.apply("deployments", deployment(), "ann")).must(201)
    assert created["spec"]["progressDeadlineSeconds"] == 600
    template = {
        "f:metadata": {"f:labels": {"f:app": {}}},
        "f:spec": {"f:containers": {'k:{"name":"app"}': {".": {}, "f:image": {}, "f:name": {}}}},
    }
    assert owners(created) == {("ann", APPLY, ""): {"f:spec": {"f:replicas": {}, "f:selector": {}, "f:template": template}}}


async def test_the_same_apply_again_writes_nothing(api: Api) -> None:
    """200, and the resourceVersion stays."""
    first = (await api.apply("configmaps", configmap(data={"a": "1"}), "ann")).must(201)
    second = (await api.apply("configmaps", configmap(data={"a": "1"}), "ann")).must(200)
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


async def test_a_field_no_longer_applied_is_removed(api: Api) -> None:
    """Its only owner let go of it."""
    (await api.apply("configmaps", configmap(data={"a": "1", "b": "2"}), "ann")).must(201)
    assert (await api.apply("configmaps", configmap(data={"a": "1"}), "ann")).must(200)["data"] == {"a": "1"}


async def test_a_field_no_longer_applied_stays_while_another_owns_it(api: Api) -> None:
    """It is removed when the last one lets go."""
    (await api.apply("configmaps", configmap(data={"a": "1", "b": "2"}), "ann")).must(201)
    (await api.apply("configmaps", configmap(data={"b": "2"}), "bob")).must(200)
    assert (await api.apply("configmaps", configmap(data={"a": "1"}), "ann")).must(200)["data"] == {"a": "1", "b": "2"}
    assert (await api.apply("configmaps", configmap(data={}), "bob")).must(200)["data"] == {"a": "1"}


async def test_a_field_that_an_update_took_stays(api: Api) -> None:
    """Who updates a value owns it; its former applier cannot remove it any more."""
    (await api.apply("configmaps", configmap(data={"a": "1", "b": "2"}), "ann")).must(201)
    (await api.patch("configmaps", "one", "merge", {"data": {"b": "3"}}, fieldManager="bob")).must(200)
    assert (await api.apply("configmaps", configmap(data={"a": "1"}), "ann")).must(200)["data"] == {"a": "1", "b": "3"}


async def test_two_may_own_the_same_value(api: Api) -> None:
    """No conflict while they agree."""
    (await api.apply("configmaps", configmap(data={"a": "1"}), "ann")).must(201)
    both = (await api.apply("configmaps", configmap(data={"a": "1"}), "bob")).must(200)
    assert set(owners(both)) == {("ann", APPLY, ""), ("bob", APPLY, "")}


async def test_a_conflict_with_an_applier_names_it(api: Api) -> None:
    """409 with the manager and the path, and nothing is written."""
    (await api.apply("deployments", deployment(), "ann")).must(201)
    answer = await api.apply("deployments", deployment(replicas=3), "bob")
    assert (answer.status, answer.body["reason"]) == (409, "Conflict")
    assert answer.body["message"] == 'Apply failed with 1 conflict: conflict with "ann": .spec.replicas'
    assert answer.body["details"]["causes"] == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "ann"', "field": ".spec.replicas"}
    ]


async def test_a_conflict_with_an_updater_names_its_version(api: Api) -> None:
    """An Update's manager is told with the version it used."""
    (await api.create("deployments", deployment(), fieldManager="ann")).must(201)
    answer = await api.apply("deployments", deployment(replicas=3), "bob")
    assert answer.body["message"] == 'Apply failed with 1 conflict: conflict with "ann" using apps/v1: .spec.replicas'


async def test_several_conflicts_are_listed_by_manager(api: Api) -> None:
    """One line a field, grouped."""
    (await api.apply("configmaps", configmap(data={"a": "1", "b": "2"}), "ann")).must(201)
    (await api.patch("configmaps", "one", "merge", {"data": {"c": "3"}}, fieldManager="cat")).must(200)
    answer = await api.apply("configmaps", configmap(data={"a": "x", "b": "x", "c": "x"}), "bob")
    assert answer.status == 409
    assert answer.body["message"] == (
        'Apply failed with 3 conflicts: conflicts with "ann":\n- .data.a\n- .data.b\nconflicts with "cat" using v1:\n- .data.c'
    )


async def test_a_conflict_below_a_list_names_the_item(api: Api) -> None:
    """Items of keyed lists are told by their key."""
    (await api.apply("deployments", deployment(), "ann")).must(201)
    answer = await api.apply("deployments", changed(deployment(), "spec.template.spec.containers.0.image", "app:2"), "bob")
    assert answer.body["message"] == 'Apply failed with 1 conflict: conflict with "ann": .spec.template.spec.containers[name="app"].image'


async def test_force_takes_the_field_over(api: Api) -> None:
    """The former owner keeps what it still owns."""
    (await api.apply("configmaps", configmap(data={"a": "1", "b": "2"}), "ann")).must(201)
    forced = (await api.apply("configmaps", configmap(data={"a": "9"}), "bob", force="true")).must(200)
    assert forced["data"] == {"a": "9", "b": "2"}
    assert owners(forced) == {("ann", APPLY, ""): {"f:data": {"f:b": {}}}, ("bob", APPLY, ""): {"f:data": {"f:a": {}}}}


async def test_keyed_lists_merge_by_item(api: Api) -> None:
    """Two managers own two containers; each removes only its own."""
    (await api.apply("deployments", deployment(), "ann")).must(201)
    side = changed(deployment(), "spec.template.spec.containers", [{"name": "side", "image": "side:1"}])
    both = (await api.apply("deployments", side, "bob")).must(200)
    assert {c["name"] for c in both["spec"]["template"]["spec"]["containers"]} == {"app", "side"}
    back = (await api.apply("deployments", changed(side, "spec.template.spec.containers", []), "bob")).must(200)
    assert [c["name"] for c in back["spec"]["template"]["spec"]["containers"]] == ["app"]


async def test_ports_are_keyed_with_their_default_protocol(api: Api) -> None:
    """A port without a protocol is the port with TCP."""
    created = (await api.apply("services", service(ports=[{"port": 80}]), "ann")).must(201)
    assert owners(created)["ann", APPLY, ""]["f:spec"]["f:ports"] == {'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:port": {}}}
    again = (await api.apply("services", service(ports=[{"port": 80, "protocol": "TCP", "name": "x"}]), "ann")).must(200)
    assert len(again["spec"]["ports"]) == 1


async def test_a_list_of_a_custom_resource_is_atomic_by_default(widgets: Api) -> None:
    """As HTTPRoute's rules are: one leaf changed by another manager makes the whole list its own."""
    rules = [{"a": 1}, {"a": 2}]
    created = (await widgets.apply("widgets", widget(rules=rules), "ann")).must(201)
    assert owners(created)["ann", APPLY, ""] == {"f:spec": {"f:rules": {}, "f:size": {}}}
    (await widgets.patch("widgets", "w", "json", [{"op": "replace", "path": "/spec/rules/1/a", "value": 3}], fieldManager="bob")).must(200)
    answer = await widgets.apply("widgets", widget(rules=rules), "ann")
    assert answer.body["message"].endswith('conflict with "bob" using conformance.linnet.dev/v1: .spec.rules')


async def test_a_keyed_list_of_a_custom_resource_merges(widgets: Api) -> None:
    """`x-kubernetes-list-type: map`."""
    (await widgets.apply("widgets", widget(parts=[{"name": "a", "weight": 5}]), "ann")).must(201)
    both = (await widgets.apply("widgets", widget(parts=[{"name": "b"}]), "bob")).must(200)
    assert both["spec"]["parts"] == [{"name": "a", "weight": 5}, {"name": "b", "weight": 1}]
    left = (await widgets.apply("widgets", widget(parts=[]), "bob")).must(200)
    assert [p["name"] for p in left["spec"]["parts"]] == ["a"]


async def test_a_set_of_a_custom_resource_merges(widgets: Api) -> None:
    """`x-kubernetes-list-type: set`: items are owned one by one."""
    (await widgets.apply("widgets", widget(tags=["a"]), "ann")).must(201)
    both = (await widgets.apply("widgets", widget(tags=["b"]), "bob")).must(200)
    assert sorted(both["spec"]["tags"]) == ["a", "b"]
    assert owners(both)["bob", APPLY, ""]["f:spec"]["f:tags"] == {'v:"b"': {}}


async def test_an_update_of_a_custom_resource_owns_each_new_field(widgets: Api) -> None:
    """Structs of a custom resource are owned by who made them."""
    created = (await widgets.create("widgets", widget(parts=[{"name": "a"}]), fieldManager="ann")).must(201)
    part: dict[str, Any] = {".": {}, 'k:{"name":"a"}': {".": {}, "f:name": {}, "f:weight": {}}}
    assert owners(created) == {("ann", UPDATE, ""): {"f:spec": {".": {}, "f:mode": {}, "f:parts": part, "f:size": {}}}}


async def test_owners_are_written_back_by_a_second_patch(api: Api) -> None:
    """A leaf changed and changed back leaves a foreign owner; the recorded owners, written back alone, bring the first one back."""
    before = (await api.apply("configmaps", configmap(data={"a": "1"}), "ann")).must(201)
    (await api.patch("configmaps", "one", "json", [{"op": "replace", "path": "/data/a", "value": "2"}], fieldManager="linnet")).must(200)
    restored = (
        await api.patch("configmaps", "one", "json", [{"op": "replace", "path": "/data/a", "value": "1"}], fieldManager="linnet")
    ).must(200)
    assert set(owners(restored)) == {("linnet", UPDATE, "")}
    assert (await api.apply("configmaps", configmap(data={"a": "3"}), "ann")).status == 409
    back = [
        {"op": "test", "path": "/metadata/resourceVersion", "value": restored["metadata"]["resourceVersion"]},
        {"op": "replace", "path": "/metadata/managedFields", "value": before["metadata"]["managedFields"]},
    ]
    written = (await api.patch("configmaps", "one", "json", back, fieldManager="linnet")).must(200)
    assert owners(written) == owners(before)
    assert written["metadata"]["resourceVersion"] != restored["metadata"]["resourceVersion"]
    assert (await api.apply("configmaps", configmap(data={"a": "3"}), "ann")).must(200)["data"] == {"a": "3"}


async def test_owners_written_in_the_patch_of_the_leaf_do_not_stick(api: Api) -> None:
    """The writer still comes to own the leaf it changes."""
    before = (await api.apply("configmaps", configmap(data={"a": "1"}), "ann")).must(201)
    patch = [
        {"op": "replace", "path": "/data/a", "value": "2"},
        {"op": "replace", "path": "/metadata/managedFields", "value": before["metadata"]["managedFields"]},
    ]
    assert ("linnet", UPDATE, "") in owners((await api.patch("configmaps", "one", "json", patch, fieldManager="linnet")).must(200))


@pytest.mark.parametrize("value", [[{}], []], ids=["one-empty-entry", "empty-list"])
async def test_owners_can_be_forgotten(api: Api, value: list[Any]) -> None:
    """Afterwards updates are not tracked, until the next apply names everything before it."""
    (await api.create("configmaps", configmap(data={"a": "1"}), fieldManager="ann")).must(201)
    forget = [{"op": "replace", "path": "/metadata/managedFields", "value": value}]
    assert owners((await api.patch("configmaps", "one", "json", forget)).must(200)) == {}
    assert owners((await api.patch("configmaps", "one", "merge", {"data": {"b": "2"}}, fieldManager="bob")).must(200)) == {}
    answer = await api.apply("configmaps", configmap(data={"a": "9"}), "ann")
    assert answer.body["message"] == 'Apply failed with 1 conflict: conflict with "before-first-apply" using v1: .data.a'


async def test_no_list_of_owners_leaves_them_as_they_are(api: Api) -> None:
    """A client that knows nothing of managedFields does no harm by a PUT."""
    created = (await api.create("configmaps", configmap(data={"a": "1"}), fieldManager="ann")).must(201)
    after = (await api.put("configmaps", configmap(data={"a": "1"}), fieldManager="bob")).must(200)
    assert owners(after) == owners(created)


async def test_status_is_applied_through_its_own_endpoint(widgets: Api) -> None:
    """Its owner is told with the subresource; the spec in it is ignored."""
    (await widgets.apply("widgets", widget(), "ann")).must(201)
    status = {**widget(size=9), "status": {"phase": "Ready"}}
    after = (await widgets.apply("widgets", status, "ctl", sub="status")).must(200)
    assert (after["spec"]["size"], after["status"]) == (5, {"phase": "Ready"})
    assert owners(after)["ctl", APPLY, "status"] == {"f:status": {"f:phase": {}}}


REFUSED: list[tuple[str, Any, dict[str, Any], int, str]] = [
    ("no-manager", configmap(), {}, 422, "fieldManager"),
    ("manager-too-long", configmap(), {"fieldManager": "m" * 129}, 422, "may not be more than 128 bytes"),
    ("other-name", configmap("two"), {"fieldManager": "ann"}, 400, "does not match"),
    (
        "with-owners",
        changed(configmap(), "metadata.managedFields", [{"manager": "x"}]),
        {"fieldManager": "ann"},
        400,
        "managedFields must be nil",
    ),
    ("no-kind", {"metadata": {"name": "one"}}, {"fieldManager": "ann"}, 400, "invalid object type"),
    ("unknown-field", {**configmap(), "nope": 1}, {"fieldManager": "ann"}, 500, ".nope: field not declared in schema"),
]


@pytest.mark.parametrize(("obj", "query", "status", "said"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
async def test_an_apply_that_makes_no_sense_is_refused(api: Api, obj: Any, query: dict[str, Any], status: int, said: str) -> None:
    """Each with its reason."""
    (await api.create("configmaps", configmap())).must(201)
    answer = await api.patch("configmaps", "one", "apply", obj, **query)
    assert answer.status == status
    assert said in answer.body["message"]


async def test_force_belongs_to_apply(api: Api) -> None:
    """Another patch may not be forced."""
    (await api.create("configmaps", configmap())).must(201)
    answer = await api.patch("configmaps", "one", "merge", {}, force="true")
    assert (answer.status, answer.fields) == (422, ["force"])


async def test_an_apply_may_be_yaml(api: Api) -> None:
    """As kubectl sends it."""
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: one\ndata:\n  day: '2026-01-01'\n"
    assert (await api.patch("configmaps", "one", "apply", text, fieldManager="ann")).must(201)["data"] == {"day": "2026-01-01"}
