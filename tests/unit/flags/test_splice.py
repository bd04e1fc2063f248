"""Cutting one member in and out of a JSON text leaves every other byte alone."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flags import splice

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(st.text(max_size=6), JSON, max_size=5)
LAYOUTS = st.fixed_dictionaries(
    {
        "indent": st.sampled_from([None, 0, 1, 3, "\t"]),
        "ensure_ascii": st.booleans(),
        "separators": st.sampled_from([(",", ":"), (" , ", " : ")]),
    }
)


@given(document=DOCUMENTS, layout=LAYOUTS, before=st.sampled_from(["", " \n"]), value=JSON)
def test_dropping_what_was_put_gives_every_byte_back(document: dict[str, Any], layout: dict[str, Any], before: str, value: Any) -> None:
    """Whatever the layout, put then drop is the identity, and in between the document has exactly one member more."""
    text = before + json.dumps(document, **layout) + "\n"
    changed = splice.put(text, ("$mine$",), json.dumps(value))
    assert json.loads(changed) == {**document, "$mine$": value}
    assert splice.drop(changed, ("$mine$",)) == text


@given(document=DOCUMENTS.filter(bool), layout=LAYOUTS, value=JSON, data=st.data())
def test_replacing_and_putting_back_gives_every_byte_back(
    document: dict[str, Any], layout: dict[str, Any], value: Any, data: st.DataObject
) -> None:
    """The text of a value is enough to restore it."""
    text = json.dumps(document, **layout)
    path = (data.draw(st.sampled_from(sorted(document))),)
    original = splice.raw(text, path)
    assert original is not None
    assert json.loads(original) == document[path[0]]
    changed = splice.put(text, path, json.dumps(value))
    assert json.loads(changed) == {**document, path[0]: value}
    assert splice.put(changed, path, original) == text


@given(document=DOCUMENTS.filter(bool), layout=LAYOUTS, data=st.data())
def test_dropping_any_member_leaves_the_others(document: dict[str, Any], layout: dict[str, Any], data: st.DataObject) -> None:
    """First, middle, last or only member: the rest is still JSON and the same."""
    gone = data.draw(st.sampled_from(sorted(document)))
    left = splice.drop(json.dumps(document, **layout), (gone,))
    assert json.loads(left) == {key: value for key, value in document.items() if key != gone}


@pytest.mark.parametrize("text", ['{"a": {}}', '{"a": { }}', '{"a": {\n}}'])
def test_an_empty_object_takes_a_member_and_gives_it_back(text: str) -> None:
    """No comma, and the white space inside stays."""
    changed = splice.put(text, ("a", "b"), "1")
    assert json.loads(changed) == {"a": {"b": 1}}
    assert splice.drop(changed, ("a", "b")) == text


def test_a_path_that_is_not_there_is_nothing() -> None:
    """No member, no parent, or a parent that is no object."""
    for path in (("b",), ("b", "c"), ("a", "b")):
        assert splice.raw('{"a": 1}', path) is None
        assert splice.drop('{"a": 1}', path) == '{"a": 1}'
    with pytest.raises(ValueError, match="a is not an object"):
        splice.put('{"a": 1}', ("a", "b"), "2")


def test_a_key_written_twice_is_refused_instead_of_edited_at_random() -> None:
    """JSON readers differ in which one counts."""
    with pytest.raises(ValueError, match="2 times"):
        splice.put('{"a": 1, "a": 2}', ("a",), "3")
