"""The CEL evaluator means what CEL means."""

from __future__ import annotations

import json
from typing import Any

import celpy
import celpy.adapter
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.sandbox.cel import CelError, as_json, compile_expression

SCOPE: dict[str, Any] = {
    "o": {
        "n": 3,
        "f": 1.5,
        "s": "text",
        "l": [1, 2, 3],
        "m": {"a": "x", "b": "y"},
        "t": True,
        "z": None,
        "items": [{"k": "a", "v": 1}, {"k": "b", "v": 2}],
    },
}

AGREED = [
    "o.n + 1 == 4", "o.n - 5", "o.n * 2 % 4", "7 / 2", "-7 / 2", "-7 % 3", "o.f + 0.5", "o.s + '!'", 'o.s == "text"', "o.n == 3 && o.t", "o.nope || o.t",
    "o.t || o.nope", "!o.t", "o.n > 2 ? 'big' : 'small'", "o.l + [4]", "o.l[1]", "o.m['a']", "o.m.b", "has(o.m.a)", "has(o.m.zz)", "'a' in o.m", "2 in o.l", "9 in o.l",
    "o.l.all(x, x > 0)", "o.l.exists(x, x > 2)", "o.l.exists_one(x, x > 1)", "o.l.map(x, x * 2)", "o.l.filter(x, x % 2 == 1)", "o.items.map(i, i.k)", "o.m.all(k, size(k) == 1)",
    "size(o.s)", "size(o.l) == o.l.size()", "o.s.startsWith('te')", "o.s.endsWith('xt')", "o.s.contains('ex')", "o.s.matches('^t.*t$')", "string(o.n)", "int('12')", "double('1.5')",
    "o.z == null", "1 < 2 && 2 <= 2 && 3 > 2 && 3 >= 3", "'a' < 'b'", "o.items.exists(i, o.l.exists(x, x == i.v))", "r'a\\d' == 'a\\\\d'", "[1, 2] == [1, 2]",
    "{'a': 1} == {'a': 1}", "[] == []", "duration('90s') == duration('1m30s')", "timestamp('2026-01-01T00:00:00Z') < timestamp('2026-01-02T00:00:00Z')", "true ? 1 : 2", "(1 + 2) * 3",
]  # fmt: skip


@pytest.mark.parametrize("text", AGREED)
def test_it_agrees_with_cel_python(text: str) -> None:
    """What the library's own interpreter says, ours says as well."""
    environment = celpy.Environment()
    theirs = environment.program(environment.compile(text)).evaluate({"o": celpy.adapter.json_to_cel(SCOPE["o"])})
    ours = as_json(compile_expression(text)(SCOPE))
    assert json.loads(json.dumps(theirs, cls=celpy.adapter.CELJSONEncoder)) == ours


FAILING = [
    "o.nope",
    "o.l[9]",
    "o.m['zz']",
    "1 / 0",
    "1 + 'a'",
    "o.s + 1",
    "o.n && true",
    "unknown",
    "unknown(1)",
    "o.s.frobnicate()",
    "1 < 'a'",
    "true + true",
    "int('x')",
]


@pytest.mark.parametrize("text", FAILING)
def test_what_has_no_value_is_an_error(text: str) -> None:
    """CelError, never another exception and never a guess."""
    with pytest.raises(CelError):
        compile_expression(text)(SCOPE)


@pytest.mark.parametrize("text", ["", "o.", "1 +", "a b", "object.?x"])
def test_what_cannot_be_read_is_an_error(text: str) -> None:
    """At compile time, naming the text."""
    with pytest.raises(CelError, match="compilation failed"):
        compile_expression(text)


def test_typed_objects_are_plain_json() -> None:
    """`Object{...}` and `JSONPatch{...}` as mutating policies write them."""
    assert as_json(compile_expression("Object{spec: Object.spec{paused: true}}")(SCOPE)) == {"spec": {"paused": True}}
    assert as_json(compile_expression("[JSONPatch{op: 'add', path: '/a/' + jsonpatch.escapeKey('b/c'), value: o.m}]")(SCOPE)) == [
        {"op": "add", "path": "/a/b~1c", "value": {"a": "x", "b": "y"}}
    ]


@given(st.integers(-(2**31), 2**31), st.integers(-(2**31), 2**31))
def test_division_and_modulus_belong_together(a: int, b: int) -> None:
    """a == (a / b) * b + a % b, truncating towards zero as Go does."""
    if b == 0:
        return
    scope = {"a": a, "b": b}
    assert compile_expression("(a / b) * b + a % b == a")(scope) is True
    assert compile_expression("a / b")(scope) == int(a / b)
