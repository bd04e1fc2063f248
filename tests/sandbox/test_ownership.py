"""Properties of field sets, merges and ownership that hold for any object."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.sandbox import fieldsets as fs
from daemon.sandbox import quantity, schema
from daemon.sandbox.errors import ApiError
from daemon.sandbox.furnish import furnished
from daemon.sandbox.store import Caller

NODE = schema.of_custom(
    {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "properties": {
                    "a": {"type": "integer"},
                    "m": {"type": "object", "additionalProperties": {"type": "integer"}},
                    "s": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
                    "k": {
                        "type": "array",
                        "x-kubernetes-list-type": "map",
                        "x-kubernetes-list-map-keys": ["n"],
                        "items": {"type": "object", "properties": {"n": {"type": "string"}, "v": {"type": "integer"}}},
                    },
                    "l": {"type": "array", "items": {"type": "integer"}},
                },
            }
        },
    }
)
NAMES = st.sampled_from("abcd")
SPECS = st.fixed_dictionaries(
    {},
    optional={
        "a": st.integers(0, 3),
        "m": st.dictionaries(NAMES, st.integers(0, 3), min_size=1),
        "s": st.lists(NAMES, unique=True, min_size=1),
        "k": st.lists(NAMES, unique=True, min_size=1).map(lambda ns: [{"n": n, "v": i} for i, n in enumerate(ns)]),
        "l": st.lists(st.integers(0, 3), min_size=1),
    },
).filter(bool)


@given(SPECS)
def test_a_field_set_survives_its_wire_form(spec: dict[str, Any]) -> None:
    """Decode of encode is the same set."""
    paths = fs.of(NODE, {"spec": spec})
    assert fs.decode(fs.encode(paths)) == paths


@given(SPECS, SPECS)
def test_a_merge_contains_what_was_applied(live: dict[str, Any], config: dict[str, Any]) -> None:
    """Merging the same again changes nothing, and every applied path is there."""
    merged = fs.merge(NODE, {"spec": live}, {"spec": config})
    assert fs.merge(NODE, merged, {"spec": config}) == merged
    assert fs.of(NODE, {"spec": config}) <= fs.of(NODE, merged)


@given(SPECS, SPECS)
def test_a_comparison_names_every_difference(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Equal means no difference, and the other way round where order does not matter."""
    diff = fs.compare(NODE, {"spec": one}, {"spec": other})
    assert not fs.compare(NODE, {"spec": one}, {"spec": one}).added
    if one.keys() != other.keys():
        assert diff.added | diff.removed | diff.modified


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(["ann", "bob"]), st.dictionaries(NAMES, st.sampled_from("12"))), min_size=1, max_size=6))
def test_forced_applies_leave_what_their_last_configurations_say(steps: list[tuple[str, dict[str, str]]]) -> None:
    """After any forced applies, the data is the union of what each manager applied last, the last writer winning."""
    store = furnished()
    last: dict[str, dict[str, str]] = {}
    for manager, data in steps:
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": data}
        obj = store.patch("configmaps", "default", "x", "apply", body, user=Caller(user="admin", manager=manager), force=True)
        for other in set(last) - {manager}:
            last[other] = {k: v for k, v in last[other].items() if k not in data or data[k] == v}
        last[manager] = data
        wanted = {k: v for known in last.values() for k, v in known.items()}
        assert (obj.get("data") or {}) == wanted


def test_optimistic_concurrency_holds_between_controllers() -> None:
    """The second writer at one resourceVersion is refused."""
    store = furnished()
    created = store.create("configmaps", {"metadata": {"name": "x", "namespace": "default"}, "data": {"a": "1"}}, user="one")
    store.update("configmaps", {**created, "data": {"a": "2"}}, user="one")
    with pytest.raises(ApiError) as refused:
        store.update("configmaps", {**created, "data": {"a": "3"}}, user="two")
    assert (refused.value.code, refused.value.retryable) == (409, True)


def test_what_is_handed_out_is_a_copy() -> None:
    """Changing it changes nothing in the store."""
    store = furnished()
    store.create("configmaps", {"metadata": {"name": "x", "namespace": "default"}, "data": {"a": "1"}}, user="one")
    got = store.get("configmaps", "default", "x")
    assert got is not None
    got["data"]["a"] = "9"
    store.list("configmaps", "default")[0]["data"]["a"] = "9"
    assert (store.get("configmaps", "default", "x") or {})["data"] == {"a": "1"}


def test_a_subscriber_that_writes_is_told_of_it_after_the_others_heard_the_first() -> None:
    """Events reach every subscriber in the order of their revisions."""
    store = furnished()
    seen: list[int] = []

    def writer(kind: str, resource: str, obj: dict[str, Any]) -> None:
        if resource == "configmaps" and kind == "ADDED":
            store.update("configmaps", {**obj, "data": {"b": "2"}}, user="writer")

    store.subscribe(writer)
    store.subscribe(lambda _kind, _resource, obj: seen.append(int(obj["metadata"]["resourceVersion"])))
    store.create("configmaps", {"metadata": {"name": "x", "namespace": "default"}, "data": {"a": "1"}}, user="one")
    assert len(seen) == 2
    assert seen == sorted(seen)


def test_a_forgotten_past_has_expired() -> None:
    """Once the log is compacted, an old revision is 410."""
    store = furnished()
    before = store.revision
    store.create("configmaps", {"metadata": {"name": "x", "namespace": "default"}}, user="one")
    assert len(store.log.since(before)) == 1
    store.log.compact()
    with pytest.raises(ApiError) as refused:
        store.log.since(before)
    assert refused.value.code == 410


QUANTITIES = [
    ("0.1", "100m"),
    ("1.5Gi", "1536Mi"),
    ("1024", "1024"),
    ("1000m", "1"),
    ("2048Ki", "2Mi"),
    ("1e3", "1e3"),
    ("0", "0"),
    ("100n", "100n"),
    ("0.5Ki", "512"),
]


@pytest.mark.parametrize(("text", "form"), QUANTITIES)
def test_quantities_are_canonical(text: str, form: str) -> None:
    """As the API server writes them, and stable when written again."""
    assert quantity.canonical(text) == form
    assert quantity.canonical(form) == form


@pytest.mark.parametrize("text", ["", "abc", "1.2.3", "1Xi", "--1", "1 Gi"])
def test_what_is_no_quantity(text: str) -> None:
    """None, so that the caller can name the field."""
    assert quantity.canonical(text) is None
