"""Conditions: the well-known forms of the peers, what has no answer, and everything that must not be answered."""

import contextlib
import json
import math
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers.templates.conditions import Condition
from analyzers.templates.errors import ConditionError
from analyzers.templates.functions import Absent

NAN = math.nan

KNOWN: list[tuple[str, Any, bool]] = [
    # as they stand in the documentation and in the repositories of Argo's users
    ("result[0] >= 0.95", [0.97], True),
    ("result[0] >= 0.95", [0.9], False),
    ("result >= 0.95", 0.95, True),
    ("result[0] <= 0.05", [0], True),
    ("result[0] < 0.05 || result[0] > 0.9", [0.95], True),
    ("result[0] < 0.05 or isNaN(result[0])", [NAN], True),
    ("isNaN(result[0]) || result[0] >= 0.95", [NAN], True),
    ("isNaN(result[0]) || result[0] >= 0.95", [0.5], False),
    ("len(result) == 0 || result[0] < 0.05", [], True),
    ("len(result) == 0 || result[0] < 0.05", [0.5], False),
    ("isNil(result) || result < 5", None, True),
    ("default(result, 0) < 0.05", None, True),
    ("default(result, 0) < 0.05", 0.5, False),
    ("default(result[0], 0) < 0.05", [], True),
    ("asFloat(result) > 0.5", "0.7", True),
    ("asInt(result) == 2", "2", True),
    ("asInt(result.count) >= 3", {"count": "3"}, True),
    ("isInf(result[0])", [math.inf], True),
    ("result.ok && result.successPercent >= 0.90", {"ok": True, "successPercent": 0.95}, True),
    ('result == "true"', "true", True),
    ("result == 'pass'", "fail", False),
    ("result", True, True),
    ("!result", False, True),
    ("all(result, # < 0.05)", [0.01, 0.02], True),
    ("all(result, {# < 0.05})", [0.01, 0.2], False),
    ("any(result, {# > 0.5})", [0.1, 0.9], True),
    ("none(result, # > 0.5)", [0.1, 0.2], True),
    ("one(result, # > 0.5)", [0.1, 0.9], True),
    ("count(result, # > 0.5) < 2", [0.9, 0.1], True),
    ("len(filter(result, # > 0.5)) == 1", [0.9, 0.1], True),
    ("(result | filter(# > 0.5) | len()) == 1", [0.9, 0.1], True),
    ("mean(result) < 0.5", [0.1, 0.7], True),
    ("max(result) <= 1 and min(result) >= 0", [0.1, 1], True),
    ("sum(map(result, # * 2)) == 6", [1, 2], True),
    ("all(result.items, .status == 'ok')", {"items": [{"status": "ok"}]}, True),
    ("result.status in ['ok', 'warn']", {"status": "warn"}, True),
    ("result.status not in ['ok', 'warn']", {"status": "bad"}, True),
    ("result contains 'healthy'", "all healthy", True),
    ("result startsWith 'v1' and result endsWith '.3'", "v1.2.3", True),
    ("result > 100 ? false : true", 10, True),
    ("not (result[0] > 0.05)", [0.01], True),
    ("result?.a?.b == nil", {}, True),
    ("(result ?? 1) == 1", None, True),
    ("result[-1] == 3", [1, 2, 3], True),
    ("result[0] > 0.9 && !isNaN(result[0])", [NAN], False),
    ("result > " + "9" * 200, 10**300, True),
    ("len(result[1:]) == 2", [1, 2, 3], True),
    ("result['error-rate'] < 1", {"error-rate": 0.5}, True),
    ("2 ** 3 ** 2 == 512 && -2 ^ 2 == -4", 0, True),
    ("1 + 2 * 3 == 7 && 7 % 4 == 3 && 5 in 1..5", 0, True),
    ("round(result) == 3 and abs(-2) == 2 and floor(1.9) == 1", 2.5, True),
    ("1_000 == 1e3 && .5 < 0.6 && 0x10 == 16", 0, True),
]


@pytest.mark.parametrize(("text", "value", "expected"), KNOWN)
def test_the_known_forms_answer_as_with_the_peers(text: str, value: Any, expected: bool) -> None:
    """A condition copied from an Argo template means here what it meant there."""
    assert Condition(text).ask(value) is expected
    if "default(result[0]" not in text:  # which is an index out of range with the peers
        assert Condition(text).ask(value, as_is=True) is expected


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("result[0] < 0.05", [NAN]),
        ("result[0] >= 0.95", [NAN]),
        ("result >= 0.95", NAN),
        ("result[0] < 0.05", []),
        ("all(result, # < 0.05)", []),
        ("none(result, # > 1)", []),
        ("mean(result) < 1", []),
        ("result < 1", None),
        ("result.rate < 1", None),
        ("result.rate < 1", {}),
        ("result[0] + 1 > 0", [None]),
        ("result == 0.5", NAN),
        ("!result", None),
    ],
)
def test_what_is_not_there_has_no_answer(text: str, value: Any) -> None:
    """NaN, an empty result and null are neither good nor bad unless the condition asks for them."""
    with pytest.raises(Absent):
        Condition(text).ask(value)


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [("result[0] < 0.05", [NAN], False), ("result[0] >= 0.95", [NAN], False), ("all(result, # < 0.05)", [], True)],
)
def test_evaluate_compares_what_is_not_there_as_the_peers_do(text: str, value: Any, expected: bool) -> None:
    """`onNoData: Evaluate` is the way back to the old answers."""
    assert Condition(text).ask(value, as_is=True) is expected


def test_evaluate_makes_an_index_of_an_empty_result_an_error() -> None:
    """As with Argo: index out of range."""
    with pytest.raises(ConditionError, match="index 0 of a list of 0"):
        Condition("result[0] < 1").ask([], as_is=True)


@pytest.mark.parametrize(
    ("text", "at", "words"),
    [
        ("", None, "is empty"),
        ("result[0] <", 12, "expected a value, found the end"),
        ("result[0] < 0.05 0.1", 18, "one too many"),
        ("result[0 < 0.05", 16, "']'"),
        ("result = 1", 8, "=="),
        ("result[0] < 0.05 & true", 18, "&&"),
        ("rseult > 1", 1, "rseult is unknown"),
        ("isNan(result)", 1, "there is no function isNan"),
        ("len()", 1, "takes 1 arguments"),
        ("all(result)", 1, "all wants a list"),
        ("# > 1", 1, "element of a list"),
        ("result matches '^a+$'", 8, "not in this version"),
        ("'open", 1, "does not end"),
        ("result ? 1", 11, "':'"),
        ("(" * 70 + "1" + ")" * 70, None, "nested"),
        (" || ".join(["result"] * 80), None, "nested"),
        ("1" * 2000, None, "more than 1024"),
    ],
)
def test_a_condition_that_cannot_be_read_names_the_place(text: str, at: int | None, words: str) -> None:
    """The author is told which character, and what to write instead."""
    with pytest.raises(ConditionError) as caught:
        Condition(text)
    assert words in str(caught.value)
    if at is not None:
        assert caught.value.at == at
        assert f"at character {at}" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value", "words"),
    [
        ("result[0] / result[1] < 0.05", [0.0, 0.0], "division by zero"),
        ("result % 0 == 1", 5, "division by zero"),
        ("result", 0.97, "compare it with something"),
        ("result < 0.05", [0.01], "write result\\[0\\]"),
        ("result > 5", "7", "asFloat"),
        ("result[0] == 1", 5, "is not a list"),
        ("result[3] == 1", [1], "index 3 of a list of 1"),
        ("asFloat(result) > 1", "<html>", "is not a number"),
        ("10.0 ** 400 > result", 1, "not a number that can be compared"),
        ("true < 2", 0, "not of one kind"),
        ("result.a > 1", 5, "has no field a"),
        ("result || true", 3, "neither true nor false"),
        ("abs(result) > 1", 10**400, "too large"),
    ],
)
def test_a_value_that_a_condition_cannot_be_asked_of_is_an_error(text: str, value: Any, words: str) -> None:
    """Rubbish is no verdict: neither true nor false comes of it."""
    with pytest.raises(ConditionError, match=words):
        Condition(text).ask(value)


def test_a_condition_ends_however_long_its_result_is() -> None:
    """Steps are counted: quantifiers within quantifiers over many series do not hang the daemon."""
    series = [0.5] * 5000
    began = time.process_time()
    with pytest.raises(ConditionError, match="more than 50000 steps"):
        Condition("all(result, any(result, # > 1) || true)").ask(series)
    assert time.process_time() - began < 5.0


def test_large_whole_numbers_do_not_grow_without_end() -> None:
    """What outgrows 64 bits goes on as a float, as elsewhere."""
    assert Condition(f"result{' * result' * 20} > 1").ask(2**62) is True


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "b", "ok"]), inner, max_size=3),
    max_leaves=8,
)


@given(text=st.text(alphabet="result[]0.5<>=!&|()#{}.,?:+-*/% allnyisNaNdf\"'", max_size=40), value=json_values)
def test_any_text_is_answered_or_refused(text: str, value: Any) -> None:
    """Whatever is written and whatever was measured: true, false, no data or a named fault, and nothing else."""
    try:
        condition = Condition(text)
    except ConditionError as error:
        assert str(error)
        return
    for as_is in (False, True):
        try:
            assert condition.ask(value, as_is=as_is) in (True, False)
        except (Absent, ConditionError) as error:
            assert str(error)


@given(text=st.sampled_from([k[0] for k in KNOWN]), value=json_values)
def test_known_forms_survive_any_value(text: str, value: Any) -> None:
    """The value is the server's: it must not get anything but an answer or a named fault out of a condition."""
    before = json.dumps(value)
    with contextlib.suppress(Absent, ConditionError):
        Condition(text).ask(value)
    assert json.dumps(value) == before


@given(limit=st.floats(min_value=-1e6, max_value=1e6), value=st.floats(allow_nan=False))
def test_a_comparison_and_its_opposite_never_agree(limit: float, value: float) -> None:
    """For a value that is there, exactly one of `<` and `>=` holds; for NaN neither is asked."""
    below, above = Condition(f"result < {limit!r}"), Condition(f"result >= {limit!r}")
    assert below.ask(value) != above.ask(value)
