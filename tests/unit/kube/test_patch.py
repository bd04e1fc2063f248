"""JSON pointers, JSON Patch bytes, merge patches."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.kube import patch

KEYS = st.text(st.characters(codec="utf-8"), max_size=6)
VALUES: Any = st.recursive(
    st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from("abc"), below, max_size=3),
    max_leaves=12,
)
MAPS = st.dictionaries(st.sampled_from("abcd"), VALUES, max_size=4)


@given(st.lists(KEYS, max_size=5))
def test_pointers_survive_any_key(parts: list[str]) -> None:
    """Slashes and tildes in a key (annotations!) never become path."""
    assert list(patch.parts_of(patch.pointer(*parts))) == parts


@given(MAPS, MAPS)
def test_a_merge_diff_turns_one_map_into_the_other(old: dict[str, Any], new: dict[str, Any]) -> None:
    """Applied to the old one it gives the new one, and it is empty only when they are equal as JSON."""
    diff = patch.merge_diff(old, new)
    assert msgspec.json.encode(patch.merge_apply(old, diff), order="deterministic") == msgspec.json.encode(new, order="deterministic")
    equal = msgspec.json.encode(old, order="deterministic") == msgspec.json.encode(new, order="deterministic")
    assert (not diff) == equal == patch.same(old, new)
    assert patch.merge_diff({"share": 1, "on": 1}, {"share": 1.0, "on": True}) == {"on": True}


def test_operations_are_encoded_as_the_rfc_says() -> None:
    """`remove` has no value, a null value is kept, raw bytes go out as they came."""
    body = patch.encode_operations(
        [
            patch.test(patch.pointer("spec", "template"), msgspec.Raw(b'{"b": 1,  "a":2}')),
            patch.add(patch.pointer("metadata", "annotations", "linnet.dev/held"), "x"),
            patch.replace("/a", None),
            patch.remove("/b"),
        ]
    )
    assert body == (
        b'[{"op":"test","path":"/spec/template","value":{"b": 1,  "a":2}},'
        b'{"op":"add","path":"/metadata/annotations/linnet.dev~1held","value":"x"},'
        b'{"op":"replace","path":"/a","value":null},{"op":"remove","path":"/b"}]'
    )


def test_an_empty_patch_is_refused() -> None:
    """It would be a write that says nothing."""
    with pytest.raises(ValueError, match="at least one"):
        patch.encode_operations([])


def test_lookup_walks_maps_and_lists_and_names_what_is_missing() -> None:
    """Indexes are as in the RFC: no leading zeros, no negatives."""
    document = {"a": [{"b/c": None}, 2]}
    assert patch.lookup(document, "/a/1") == 2
    assert patch.exists(document, "/a/0/b~1c")
    assert patch.lookup(document, "/a/0/b~1c") is None
    for wrong in ("/a/01", "/a/-1", "/a/2", "/x", "/a/1/b"):
        assert not patch.exists(document, wrong)
        with pytest.raises(KeyError, match=wrong):
            patch.lookup(document, wrong)
    with pytest.raises(ValueError, match="start with a slash"):
        patch.lookup(document, "a")
