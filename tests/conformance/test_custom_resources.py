"""What a CRD's schema, rules and subresources do to custom resources."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.client import Api
from tests.conformance.conftest import WIDGETS
from tests.conformance.objects import changed, widget

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SKIPPED = "<nil>"

WRONG: list[tuple[str, dict[str, Any], set[str], str]] = [
    ("below-minimum", {"size": 0}, {"spec.size"}, "should be greater than or equal to 1"),
    ("above-maximum", {"size": 101}, {"spec.size"}, "should be less than or equal to 100"),
    ("not-in-enum", {"mode": "Up"}, {"spec.mode", SKIPPED}, 'Unsupported value: "Up": supported values: "Fast", "Slow"'),
    ("too-short", {"code": "a"}, {"spec.code"}, "should be at least 2 chars long"),
    ("too-long", {"code": "abcdefg"}, {"spec.code", SKIPPED}, "Too long: may not be more than 5 bytes"),
    ("pattern", {"code": "A1"}, {"spec.code"}, "should match '^[a-z]+$'"),
    ("too-few-items", {"tags": []}, {"spec.tags"}, "should have at least 1 items"),
    ("too-many-items", {"tags": ["a", "b", "c", "d"]}, {"spec.tags", SKIPPED}, "Too many: 4: must have at most 3 items"),
    ("duplicate-in-set", {"tags": ["a", "a"]}, {"spec.tags[1]"}, 'Duplicate value: "a"'),
    ("duplicate-key", {"parts": [{"name": "a"}, {"name": "a"}]}, {"spec.parts[1]"}, 'Duplicate value: {"name":"a"}'),
    ("key-missing", {"parts": [{"weight": 1}]}, {"spec.parts[0].name", SKIPPED}, "Required value"),
    ("list-as-object", {"rules": {}}, {"spec.rules", SKIPPED}, 'must be of type array: "object"'),
    ("int-or-string-as-object", {"port": {}}, {"spec.port", SKIPPED}, 'must be of type integer,string: "object"'),
    ("no-date", {"when": "yesterday"}, {"spec.when", SKIPPED}, "must be of type date-time"),
    ("map-value-of-wrong-type", {"labels": {"a": 1}}, {"spec.labels.a", SKIPPED}, 'must be of type string: "integer"'),
    ("rule", {"max": 3}, {"spec"}, "size must not exceed max"),
    ("rule-with-reason-and-path", {"size": 13, "note": "no"}, {"spec.size"}, "Forbidden: unlucky thirteen: no"),
    (
        "several",
        {"size": 1000, "mode": "Z", "code": "A"},
        {"spec.size", "spec.mode", "spec.code", SKIPPED},
        "should be less than or equal to 100",
    ),
]


@pytest.mark.parametrize(("spec", "fields", "said"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
async def test_a_wrong_custom_resource_is_refused_and_its_fields_are_named(
    widgets: Api, spec: dict[str, Any], fields: set[str], said: str
) -> None:
    """422 with a cause for each field; rules that could not be run are a cause of their own."""
    answer = await widgets.create("widgets", widget(**spec))
    assert (answer.status, answer.body["reason"]) == (422, "Invalid")
    assert set(answer.fields) == fields
    assert said in answer.body["message"]


async def test_a_required_field_is_named(widgets: Api) -> None:
    """Missing, and null where null is not allowed, are the same."""
    for obj in (changed(widget(), "spec", {}), widget(size=None)):
        assert "spec.size" in (await widgets.create("widgets", obj)).fields


RIGHT: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("default", {}, {"mode": "Fast"}),
    ("default-in-items", {"parts": [{"name": "a"}]}, {"parts": [{"name": "a", "weight": 1}]}),
    ("null-gives-way-to-the-default", {"mode": None}, {"mode": "Fast"}),
    ("nullable", {"maybe": None}, {"maybe": None}),
    ("int-or-string-number", {"port": 80}, {"port": 80}),
    ("int-or-string-text", {"port": "http"}, {"port": "http"}),
    ("free-object", {"free": {"x": {"y": [1]}}}, {"free": {"x": {"y": [1]}}}),
    ("map", {"labels": {"a": "b"}}, {"labels": {"a": "b"}}),
    ("date", {"when": "2026-01-02T03:04:05Z"}, {"when": "2026-01-02T03:04:05Z"}),
    ("rule-holds", {"max": 5}, {"max": 5}),
]


@pytest.mark.parametrize(("spec", "stored"), [r[1:] for r in RIGHT], ids=[r[0] for r in RIGHT])
async def test_what_is_stored_of_a_custom_resource(widgets: Api, spec: dict[str, Any], stored: dict[str, Any]) -> None:
    """Defaults are filled in; values stay what they were."""
    created = (await widgets.create("widgets", widget(**spec))).must(201)
    assert {k: created["spec"][k] for k in stored} == stored


async def test_unknown_fields_are_pruned(widgets: Api) -> None:
    """At every depth, unless the schema preserves them."""
    created = (await widgets.create("widgets", widget(nope=1, parts=[{"name": "a", "nope": 1}]))).must(201)
    assert "nope" not in created["spec"]
    assert created["spec"]["parts"] == [{"name": "a", "weight": 1}]


async def test_unknown_fields_are_refused_when_asked(widgets: Api) -> None:
    """`fieldValidation=Strict`."""
    answer = await widgets.create("widgets", widget(nope=1), fieldValidation="Strict")
    assert answer.status == 400
    assert 'unknown field "spec.nope"' in answer.body["message"]


async def test_rules_of_transition_see_the_old_value(widgets: Api) -> None:
    """They hold on updates, not on creation."""
    (await widgets.create("widgets", widget(frozen="a"))).must(201)
    shrunk = await widgets.patch("widgets", "w", "merge", {"spec": {"size": 4}})
    assert (shrunk.status, shrunk.fields) == (422, ["spec"])
    assert "size cannot shrink" in shrunk.body["message"]
    assert (await widgets.patch("widgets", "w", "merge", {"spec": {"frozen": "b"}})).fields == ["spec.frozen"]
    assert (await widgets.patch("widgets", "w", "merge", {"spec": {"size": 6}})).must(200)["spec"]["size"] == 6


async def test_generation_counts_changes_of_the_spec_only(widgets: Api) -> None:
    """Neither metadata nor status moves it."""
    assert (await widgets.create("widgets", widget())).must(201)["metadata"]["generation"] == 1
    assert (await widgets.patch("widgets", "w", "merge", {"metadata": {"labels": {"a": "b"}}})).must(200)["metadata"]["generation"] == 1
    assert (await widgets.patch("widgets", "w", "merge", {"status": {"size": 1}}, sub="status")).must(200)["metadata"]["generation"] == 1
    assert (await widgets.patch("widgets", "w", "merge", {"spec": {"size": 6}})).must(200)["metadata"]["generation"] == 2


async def test_status_is_written_through_its_subresource_only(widgets: Api) -> None:
    """A create and a main update ignore it; the subresource ignores everything else."""
    created = (await widgets.create("widgets", {**widget(), "status": {"phase": "x"}})).must(201)
    assert "status" not in created
    assert "status" not in (await widgets.patch("widgets", "w", "merge", {"status": {"phase": "x"}})).must(200)
    patch = {"spec": {"size": 50}, "metadata": {"labels": {"a": "b"}}, "status": {"phase": "Ready"}}
    after = (await widgets.patch("widgets", "w", "merge", patch, sub="status")).must(200)
    assert (after["spec"]["size"], after["status"], "labels" in after["metadata"]) == (5, {"phase": "Ready"}, False)
    assert (await widgets.get("widgets", "w", "status")).must(200)["status"] == {"phase": "Ready"}


async def test_an_update_must_say_which_version_it_replaces(widgets: Api) -> None:
    """Custom resources know no unconditional PUT."""
    (await widgets.create("widgets", widget())).must(201)
    answer = await widgets.put("widgets", widget(size=6))
    assert (answer.status, answer.fields) == (422, ["metadata.resourceVersion"])


async def test_scale_maps_to_the_paths_of_the_crd(widgets: Api) -> None:
    """Reading and writing."""
    (await widgets.create("widgets", widget())).must(201)
    (await widgets.patch("widgets", "w", "merge", {"status": {"size": 3}}, sub="status")).must(200)
    scale = (await widgets.get("widgets", "w", "scale")).must(200)
    assert (scale["kind"], scale["spec"], scale["status"]["replicas"]) == ("Scale", {"replicas": 5}, 3)
    (await widgets.patch("widgets", "w", "merge", {"spec": {"replicas": 7}}, sub="scale")).must(200)
    assert (await widgets.get("widgets", "w")).must(200)["spec"]["size"] == 7


async def test_a_crd_is_established_and_accepts_its_names(widgets: Api) -> None:
    """The conditions that installers wait for."""
    crd = (await widgets.raw("GET", f"{CRDS}/{WIDGETS['metadata']['name']}")).must(200)
    conditions = {c["type"]: c["status"] for c in crd["status"]["conditions"]}
    assert conditions == {"NamesAccepted": "True", "Established": "True"}
    assert crd["status"]["storedVersions"] == ["v1"]
    assert crd["spec"]["names"]["listKind"] == "WidgetList"


BROKEN: list[tuple[str, Any, str]] = [
    ("name", changed(WIDGETS, "metadata.name", "x.conformance.linnet.dev"), "metadata.name"),
    ("rule-does-not-compile", changed(WIDGETS, "spec.versions.0.schema.openAPIV3Schema.properties.spec.x-kubernetes-validations", [{"rule": "self.size ="}]), "x-kubernetes-validations[0].rule"),
    ("no-type", changed(WIDGETS, "spec.versions.0.schema.openAPIV3Schema.properties.spec.properties.size", {"minimum": 1}), "properties[size].type"),
    ("scope", changed(WIDGETS, "spec.scope", "Nowhere"), "spec.scope"),
]  # fmt: skip


@pytest.mark.parametrize(("crd", "field"), [b[1:] for b in BROKEN], ids=[b[0] for b in BROKEN])
async def test_a_broken_crd_is_refused(api: Api, crd: Any, field: str) -> None:
    """422, and the field is named."""
    answer = await api.raw("POST", CRDS, crd, dryRun="All")
    assert answer.status == 422
    assert any(f.endswith(field) for f in answer.fields), answer.body


async def test_discovery_knows_the_custom_resource(widgets: Api) -> None:
    """Short names, categories and subresources."""
    found = (await widgets.raw("GET", "/apis/conformance.linnet.dev/v1")).must(200)["resources"]
    by_name = {r["name"]: r for r in found}
    assert set(by_name) == {"widgets", "widgets/status", "widgets/scale"}
    assert (by_name["widgets"]["shortNames"], by_name["widgets"]["categories"], by_name["widgets"]["singularName"]) == (
        ["wdg"],
        ["conformance"],
        "widget",
    )


async def test_printer_columns_make_the_table(widgets: Api) -> None:
    """Name first, then the columns of the CRD with their priority."""
    (await widgets.create("widgets", widget())).must(201)
    table = (await widgets.list("widgets", accept="application/json;as=Table;v=v1;g=meta.k8s.io")).must(200)
    assert [(c["name"], c["type"], c["priority"]) for c in table["columnDefinitions"]] == [
        ("Name", "string", 0), ("Size", "integer", 0), ("Mode", "string", 1), ("Age", "date", 0),
    ]  # fmt: skip
    assert table["rows"][0]["cells"][:3] == ["w", 5, "Fast"]
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
