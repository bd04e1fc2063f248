"""From text to a tree: the part of the expression language of the peers that conditions are written in.

Precedence is that of expr-lang, so a condition copied from an Argo template groups here as it grouped there. The tree is bounded
in depth, so neither reading nor answering it can run away.
"""

from dataclasses import dataclass
from typing import Final

from analyzers.templates.errors import ConditionError
from analyzers.templates.tokens import Token, tokens_of

DEPTH: Final = 60
QUANTIFIERS: Final = frozenset({"all", "any", "none", "one", "filter", "map", "count", "find", "sum"})
_BINARY: Final = {
    "||": 10, "or": 10, "&&": 15, "and": 15,
    "==": 20, "!=": 20, "<": 20, "<=": 20, ">": 20, ">=": 20,
    "in": 20, "not in": 20, "contains": 20, "startsWith": 20, "endsWith": 20, "matches": 20,
    "..": 25, "+": 30, "-": 30, "*": 60, "/": 60, "%": 60, "**": 100, "^": 100, "??": 500,
}  # fmt: skip
_UNARY: Final = {"not": 50, "!": 50, "-": 90, "+": 90}
_SAME: Final = {"or": "||", "and": "&&", "!": "not", "^": "**"}
_PLAIN: Final = {"true": True, "false": False, "nil": None, "null": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One place of the tree. `kind` says how `parts` and `value` are read."""

    kind: str
    at: int
    value: object = None
    parts: tuple["Node", ...] = ()
    depth: int = 1


def parse(text: str) -> Node:
    """The tree of a condition; ConditionError with the place of what is wrong."""
    if not text.strip():
        raise ConditionError("is empty: write a comparison such as result[0] < 0.05, or leave it out")
    return _Parser(tokens_of(text)).whole()


def _node(kind: str, at: int, *parts: Node, value: object = None) -> Node:
    depth = 1 + max((p.depth for p in parts), default=0)
    if depth > DEPTH:
        raise ConditionError(f"is nested more than {DEPTH} deep: split it into several metrics", at=at)
    return Node(kind=kind, at=at, value=value, parts=parts, depth=depth)


class _Parser:
    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._here = 0
        self._depth = 0
        self._inside = 0  # closures around this place: `#` means their element

    @property
    def _token(self) -> Token:
        return self._tokens[self._here]

    def _take(self) -> Token:
        token = self._token
        self._here += 1
        return token

    def _sees(self, *signs: str) -> bool:
        return self._token.sort == "sign" and self._token.text in signs

    def _expect(self, sign: str, why: str) -> None:
        if not self._sees(sign):
            raise ConditionError(f"expected {sign!r} {why}, found {self._token.text}", at=self._token.at)
        self._take()

    def whole(self) -> Node:
        found = self._expression()
        if self._token.sort != "end":
            raise ConditionError(f"{self._token.text} is one too many: the condition was complete before it", at=self._token.at)
        return found

    def _expression(self, least: int = 0) -> Node:
        self._depth += 1
        if self._depth > DEPTH:
            raise ConditionError(f"is nested more than {DEPTH} deep: split it into several metrics", at=self._token.at)
        left = self._unary()
        while (found := self._operator()) is not None and _BINARY[found[0]] >= least:
            name, at, width = found
            self._here += width
            step = 0 if name in ("**", "^") else 1
            left = _node("binary", at, left, self._expression(_BINARY[name] + step), value=_SAME.get(name, name))
        if least == 0:
            left = self._pipes(left)
            left = self._ternary(left)
        self._depth -= 1
        return left

    def _operator(self) -> tuple[str, int, int] | None:
        """(name, place, how many words) of the binary operator that stands here."""
        token = self._token
        if token.sort == "name" and token.text == "not":
            after = self._tokens[self._here + 1]
            return ("not in", token.at, 2) if after.text == "in" else None
        if token.sort in ("sign", "name") and token.text in _BINARY:
            return token.text, token.at, 1
        return None

    def _pipes(self, left: Node) -> Node:
        """`result | filter(# > 0)` is `filter(result, # > 0)`."""
        while self._sees("|"):
            self._take()
            name = self._take()
            if name.sort != "name":
                raise ConditionError(f"expected a function after '|', found {name.text}", at=name.at)
            left = self._call(name, left)
        return left

    def _ternary(self, condition: Node) -> Node:
        if not self._sees("?"):
            return condition
        at = self._take().at
        yes = self._expression()
        self._expect(":", "between the two answers of '?'")
        return _node("ternary", at, condition, yes, self._expression())

    def _unary(self) -> Node:
        token = self._token
        if token.sort in ("sign", "name") and token.text in _UNARY:
            self._take()
            return _node("unary", token.at, self._expression(_UNARY[token.text]), value=_SAME.get(token.text, token.text))
        return self._postfix(self._primary())

    def _primary(self) -> Node:
        token = self._take()
        if token.sort in ("number", "text"):
            return _node("plain", token.at, value=token.value)
        if token.sort == "name":
            if token.text in _PLAIN:
                return _node("plain", token.at, value=_PLAIN[token.text])
            return self._call(token) if self._sees("(") else _node("name", token.at, value=token.text)
        if token.text == "(":
            inner = self._expression()
            self._expect(")", "after what the bracket holds")
            return inner
        if token.text == "[":
            return _node("list", token.at, *self._until("]"))
        if token.text in ("#", ".") and self._inside:
            return self._element(token)
        if token.text == "#":
            raise ConditionError("'#' is the element of a list, in all(), any(), filter() and the like only", at=token.at)
        raise ConditionError(f"expected a value, found {token.text}", at=token.at)

    def _element(self, token: Token) -> Node:
        element = _node("element", token.at)
        if token.text == "#":
            return element
        name = self._take()
        if name.sort != "name":
            raise ConditionError(f"expected a field's name after '.', found {name.text}", at=name.at)
        return _node("member", token.at, element, value=name.text)

    def _until(self, end: str) -> list[Node]:
        found: list[Node] = []
        while not self._sees(end):
            found.append(self._expression())
            if not self._sees(end):
                self._expect(",", "between two entries")
        self._take()
        return found

    def _call(self, name: Token, *piped: Node) -> Node:
        self._expect("(", f"after {name.text}")
        if name.text not in QUANTIFIERS:
            return _node("call", name.at, *piped, *self._until(")"), value=name.text)
        parts = list(piped)
        if not parts:
            parts.append(self._expression())
            if self._sees(","):
                self._take()
        if not self._sees(")"):
            parts.append(self._closure())
        self._expect(")", f"at the end of {name.text}")
        return _node("quantifier", name.at, *parts, value=name.text)

    def _closure(self) -> Node:
        braces = self._sees("{")
        if braces:
            self._take()
        self._inside += 1
        body = self._expression()
        self._inside -= 1
        if braces:
            self._expect("}", "at the end of what is asked of each element")
        return body

    def _postfix(self, node: Node) -> Node:
        while self._sees("[", ".", "?."):
            token = self._take()
            if token.text == "[":
                node = self._index(node, token.at)
                continue
            name = self._take()
            if name.sort != "name":
                raise ConditionError(f"expected a field's name after {token.text!r}, found {name.text}", at=name.at)
            node = _node("optional" if token.text == "?." else "member", token.at, node, value=name.text)
        return node

    def _index(self, node: Node, at: int) -> Node:
        """`[i]`, or a slice `[a:b]` of which either end may be missing."""
        first = None if self._sees(":") else self._expression(1)
        if not self._sees(":"):
            self._expect("]", "after the index")
            return _node("index", at, node, first if first is not None else node)
        self._take()
        last = None if self._sees("]") else self._expression(1)
        self._expect("]", "at the end of the slice")
        missing = _node("plain", at, value=None)
        return _node("slice", at, node, first or missing, last or missing)
