"""Why: CRD rules and admission policies are CEL, and each write may evaluate a dozen of them within a few milliseconds.

cel-python parses (a grammar is not ours to write); its tree is turned once into Python closures over plain JSON values. Its own evaluator
converts every object into its own types at each call, which took longer than a whole write may take; a test checks that both agree.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Callable, Mapping
from typing import Any

from celpy.celparser import CELParseError, CELParser
from lark import Token, Tree

from daemon.sandbox import cel_functions as fn
from daemon.sandbox.cel_functions import CelError, Typed, equal

Scope = Mapping[str, Any]
Code = Callable[[Scope], Any]

_MACROS = frozenset({"all", "exists", "exists_one", "existsOne", "map", "filter"})
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "\\": "\\", '"': '"', "'": "'", "`": "`", "?": "?"}


class Scoped(Mapping[str, Any]):
    """A scope with one more variable, as a macro opens it."""

    __slots__ = ("name", "outer", "value")

    def __init__(self, outer: Scope, name: str, value: Any) -> None:
        self.outer, self.name, self.value = outer, name, value

    def __getitem__(self, key: str) -> Any:
        return self.value if key == self.name else self.outer[key]

    def __iter__(self) -> Any:
        return iter({*self.outer, self.name})

    def __len__(self) -> int:
        return len({*self.outer, self.name})

    def __contains__(self, key: object) -> bool:
        return key == self.name or key in self.outer


class Program:
    """A compiled expression; `uses(name)` says whether it reads a variable."""

    def __init__(self, text: str, code: Code, names: frozenset[str]) -> None:
        self.text = text
        self._code = code
        self._names = names

    def uses(self, name: str) -> bool:
        return name in self._names

    def __call__(self, scope: Scope) -> Any:
        try:
            return self._code(scope)
        except RecursionError:
            raise CelError("the expression nests too deeply") from None


@functools.lru_cache(maxsize=4096)
def compile_expression(text: str) -> Program:
    """The program of a CEL expression; CelError says what is not understood."""
    try:
        tree = _parser().parse(text)
    except (CELParseError, ValueError) as e:
        raise CelError(f"compilation failed: {str(e).strip().splitlines()[0]} in {text!r}") from None
    names = frozenset(str(t.children[0]) for t in tree.find_data("ident"))
    return Program(text, _code(tree), names)


@functools.cache
def _parser() -> CELParser:
    return CELParser()


def _code(tree: Tree[Token]) -> Code:
    return _RULES[str(tree.data)](tree)


def _kids(tree: Tree[Token]) -> list[Tree[Token]]:
    return [c for c in tree.children if isinstance(c, Tree)]


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise CelError(f"no such overload: {fn.type_name(value)} where bool is wanted")
    return value


def _expr(tree: Tree[Token]) -> Code:
    kids = _kids(tree)
    if len(kids) == 1:
        return _code(kids[0])
    test, yes, no = map(_code, kids)
    return lambda s: yes(s) if _truth(test(s)) else no(s)


def _logic(tree: Tree[Token], *, decides: bool) -> Code:
    """`||` and `&&`: either side may decide, even when the other fails."""
    kids = _kids(tree)
    if len(kids) == 1:
        return _code(kids[0])
    left, right = map(_code, kids)

    def run(s: Scope) -> Any:
        try:
            if _truth(left(s)) is decides:
                return decides
        except CelError:
            if _truth(right(s)) is decides:
                return decides
            raise
        return _truth(right(s))

    return run


def _binary(tree: Tree[Token]) -> Code:
    kids = _kids(tree)
    if len(kids) == 1:
        return _code(kids[0])
    left, right = _code(_kids(kids[0])[0]), _code(kids[1])
    operate = fn.OPERATORS[str(kids[0].data)]
    return lambda s: operate(left(s), right(s))


def _unary(tree: Tree[Token]) -> Code:
    kids = _kids(tree)
    if len(kids) == 1:
        return _code(kids[0])
    inner = _code(kids[1])
    if kids[0].data == "unary_not":
        return lambda s: not _truth(inner(s))
    return lambda s: fn.negate(inner(s))


def _only(tree: Tree[Token]) -> Code:
    return _code(_kids(tree)[0])


def _unescape(name: str) -> str:
    """A field name as CRD rules must write it: `__namespace__`, `a__dash__b`."""
    if "__" not in name:
        return name
    for escaped, plain in (("__underscores__", "__"), ("__dot__", "."), ("__dash__", "-"), ("__slash__", "/")):
        name = name.replace(escaped, plain)
    return name[2:-2] if name.startswith("__") and name.endswith("__") and len(name) > 4 else name


def _dot(tree: Tree[Token]) -> Code:
    inner, name = _code(_kids(tree)[0]), str(tree.children[1])
    other = _unescape(name)

    def run(s: Scope) -> Any:
        value = inner(s)
        if isinstance(value, Mapping):
            if name in value:
                return value[name]
            if other in value:
                return value[other]
            raise CelError(f"no such key: {name}")
        raise CelError(f"no such key: {name} in {fn.type_name(value)}")

    return run


def _has(tree: Tree[Token]) -> Code:
    at: Tree[Token] = tree
    while at.data != "member_dot":
        kids = _kids(at)
        if len(kids) != 1:
            raise CelError("invalid argument to has() macro: write has(object.field)")
        at = kids[0]
    inner, name = _code(_kids(at)[0]), str(at.children[1])
    other = _unescape(name)

    def run(s: Scope) -> bool:
        value = inner(s)
        if not isinstance(value, Mapping):
            raise CelError(f"no such key: {name} in {fn.type_name(value)}")
        return name in value or other in value

    return run


def _args(tree: Tree[Token]) -> list[Tree[Token]]:
    lists = [k for k in _kids(tree) if k.data == "exprlist"]
    return _kids(lists[0]) if lists else []


def _variable(tree: Tree[Token]) -> str:
    idents = list(tree.find_data("ident"))
    if len(idents) != 1:
        raise CelError("argument must be a simple name")
    return str(idents[0].children[0])


def _method(tree: Tree[Token]) -> Code:
    name, args = str(tree.children[1]), _args(tree)
    inner = _code(_kids(tree)[0])
    if name in _MACROS and len(args) in (2, 3):
        return _macro(name, inner, _variable(args[0]), [_code(a) for a in args[1:]])
    dotted = _dotted(_kids(tree)[0])
    codes = [_code(a) for a in args]
    if dotted and f"{dotted}.{name}" in fn.FUNCTIONS:
        function = fn.FUNCTIONS[f"{dotted}.{name}"]
        return lambda s: function(*(c(s) for c in codes))
    method = fn.METHODS.get(name)
    if method is None:
        raise CelError(f"undeclared reference to '{name}'")
    return lambda s: fn.call(name, method, inner(s), *(c(s) for c in codes))


def _macro(name: str, inner: Code, variable: str, codes: list[Code]) -> Code:
    def items(s: Scope) -> list[Any]:
        value = inner(s)
        if not isinstance(value, (list, Mapping)):
            raise CelError(f"expression of type '{fn.type_name(value)}' cannot be range of a comprehension")
        return list(value)

    first = codes[0]
    if name in ("all", "exists"):
        return lambda s: _quantified(items(s), lambda v: _truth(first(Scoped(s, variable, v))), stop=name == "exists")
    if name in ("exists_one", "existsOne"):
        return lambda s: sum(_truth(first(Scoped(s, variable, v))) for v in items(s)) == 1
    if name == "filter":
        return lambda s: [v for v in items(s) if _truth(first(Scoped(s, variable, v)))]
    if len(codes) == 2:
        return lambda s: [codes[1](Scoped(s, variable, v)) for v in items(s) if _truth(first(Scoped(s, variable, v)))]
    return lambda s: [first(Scoped(s, variable, v)) for v in items(s)]


def _quantified(items: list[Any], test: Callable[[Any], bool], *, stop: bool) -> bool:
    failure: CelError | None = None
    for item in items:
        try:
            if test(item) is stop:
                return stop
        except CelError as e:
            failure = e
    if failure is not None:
        raise failure
    return not stop


def _index(tree: Tree[Token]) -> Code:
    inner, at = map(_code, _kids(tree))
    return lambda s: fn.index(inner(s), at(s))


def _dotted(tree: Tree[Token]) -> str:
    """The text of a plain chain of names, as in `Object.spec`; empty for anything else."""
    kids = _kids(tree)
    if tree.data == "ident":
        return str(tree.children[0])
    if tree.data == "member_dot":
        before = _dotted(kids[0])
        return f"{before}.{tree.children[1]}" if before else ""
    return _dotted(kids[0]) if len(kids) == 1 and tree.data in ("member", "primary") else ""


def _object(tree: Tree[Token]) -> Code:
    """`Object.spec{paused: true}`: a map that remembers its type's name."""
    kids = _kids(tree)
    name = _dotted(kids[0])
    fields: list[tuple[str, Code]] = []
    if len(kids) > 1:
        parts = kids[1].children
        fields = [(_unescape(str(parts[i])), _code(parts[i + 1])) for i in range(0, len(parts), 2)]  # type: ignore[arg-type]
    return lambda s: Typed(name, {k: c(s) for k, c in fields})


def _call(tree: Tree[Token]) -> Code:
    name, args = str(tree.children[0]), _args(tree)
    if name == "has":
        return _has(args[0])
    codes = [_code(a) for a in args]
    function = fn.FUNCTIONS.get(name)
    if function is None:
        raise CelError(f"undeclared reference to '{name}'")
    return lambda s: fn.call(name, function, *(c(s) for c in codes))


def _ident(tree: Tree[Token]) -> Code:
    name = str(tree.children[0])
    if name in fn.TYPES:
        return lambda s: s[name] if name in s else fn.TYPES[name]

    def run(s: Scope) -> Any:
        if name not in s:
            raise CelError(f"undeclared reference to '{name}'")
        return s[name]

    return run


def _list(tree: Tree[Token]) -> Code:
    codes = [_code(a) for a in _args(tree)]
    return lambda s: [c(s) for c in codes]


def _map(tree: Tree[Token]) -> Code:
    kids = _kids(tree)
    parts = [_code(k) for k in _kids(kids[0])] if kids else []
    pairs = list(zip(parts[::2], parts[1::2], strict=True))
    return lambda s: {k(s): v(s) for k, v in pairs}


def _text(raw: str) -> str:
    plain = raw[:1] in "rR"
    body = raw[1:] if plain else raw
    quote = 3 if body[:3] in ('"""', "'''") else 1
    body = body[quote:-quote]
    if plain or "\\" not in body:
        return body
    out, i = [], 0
    while i < len(body):
        ch = body[i]
        if ch != "\\":
            out.append(ch)
            i += 1
            continue
        nxt = body[i + 1]
        width = {"x": 2, "X": 2, "u": 4, "U": 8}.get(nxt)
        if width:
            out.append(chr(int(body[i + 2 : i + 2 + width], 16)))
            i += 2 + width
        else:
            out.append(_ESCAPES.get(nxt, nxt))
            i += 2
    return "".join(out)


def _literal(tree: Tree[Token]) -> Code:
    token = tree.children[0]
    kind, raw = getattr(token, "type", ""), str(token)
    value: Any
    if kind == "BOOL_LIT":
        value = raw == "true"
    elif kind == "NULL_LIT":
        value = None
    elif kind in ("INT_LIT", "UINT_LIT"):
        value = int(raw.rstrip("uU"), 0) if "0x" in raw.lower() else int(raw.rstrip("uU"))
    elif kind == "FLOAT_LIT":
        value = float(raw)
    elif kind == "BYTES_LIT":
        value = _text(raw[1:]).encode()
    else:
        value = _text(raw)
    return lambda _s: value


_RULES: dict[str, Callable[[Tree[Token]], Code]] = {
    "expr": _expr,
    "conditionalor": lambda t: _logic(t, decides=True),
    "conditionaland": lambda t: _logic(t, decides=False),
    "relation": _binary,
    "addition": _binary,
    "multiplication": _binary,
    "unary": _unary,
    "member": _only,
    "primary": _only,
    "paren_expr": _only,
    "member_dot": _dot,
    "member_dot_arg": _method,
    "member_index": _index,
    "member_object": _object,
    "ident_arg": _call,
    "dot_ident": _ident,
    "dot_ident_arg": _call,
    "ident": _ident,
    "list_lit": _list,
    "map_lit": _map,
    "literal": _literal,
}

__all__ = ["CelError", "Program", "Scope", "Typed", "compile_expression", "equal"]


def as_json(value: Any) -> Any:
    """A result as JSON: typed objects become objects, times their text."""
    if isinstance(value, Typed):
        return {k: as_json(v) for k, v in value.items()}
    if isinstance(value, Mapping):
        return {str(k): as_json(v) for k, v in value.items()}
    if isinstance(value, list):
        return [as_json(v) for v in value]
    if isinstance(value, (dt.datetime, dt.timedelta)):
        return fn.to_string(value)
    return value
