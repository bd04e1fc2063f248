"""A condition on one measured value: true, false, not answerable for want of data, or wrong.

The peers answer `NaN < 0.05` with false, so an idle service fails one condition and passes the opposite one. Here a comparison
with a value that is not there has no answer, unless the condition asks for it (`isNaN`, `len`, `default`, `??`) or the template
says `onNoData: Evaluate`. Steps are counted, so that no condition takes longer than a measurement is worth.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from analyzers.templates.errors import ConditionError
from analyzers.templates.functions import FUNCTIONS, GUARDS, Absent, is_number, number, shown
from analyzers.templates.syntax import Node, parse

STEPS: Final = 50_000
TEXT: Final = 65_536
_NAMES: Final = ("result",)
_PATHS: Final = frozenset({"name", "member", "optional", "index"})
_WAYS_OUT: Final = {"matches": "compare with ==, contains, startsWith or endsWith", "regex": "use contains"}
_ARGUMENTS: Final = {"default": 2, "isNil": 1}


class Condition:
    """A condition that was read without fault. `ask` answers it for one value."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._tree = parse(text)
        for node in _all(self._tree):
            _check(node)

    def __repr__(self) -> str:
        return f"Condition({self.text!r})"

    def ask(self, result: Any, *, as_is: bool = False) -> bool:
        """Whether the condition holds.

        Args:
            result: what was measured.
            as_is: compare NaN and what is not there as the peers do, instead of raising Absent.

        Raises:
            Absent: the answer hangs on a value that is not there.
            ConditionError: it cannot be answered for this value, or its answer is neither true nor false.
        """
        answer = _Evaluation(result, as_is=as_is).of(self._tree)
        if answer is None:
            raise Absent("the condition's value is nil")
        if not isinstance(answer, bool):
            raise ConditionError(f"{self.text!r} gives {shown(answer)}, not true or false: compare it with something")
        return answer


def _all(node: Node) -> Iterator[Node]:
    yield node
    for part in node.parts:
        yield from _all(part)


def _check(node: Node) -> None:
    """Faults that show without a value: unknown names and functions, wrong numbers of arguments."""
    if node.kind == "name" and node.value not in _NAMES:
        raise ConditionError(f"{node.value} is unknown: a condition knows `result`, the measured value", at=node.at)
    if node.kind == "binary" and node.value in _WAYS_OUT:
        raise ConditionError(f"{node.value} is not in this version: {_WAYS_OUT[str(node.value)]}", at=node.at)
    if node.kind == "quantifier":
        least = 1 if node.value in ("sum", "count") else 2
        if not least <= len(node.parts) <= 2:
            raise ConditionError(f"{node.value} wants a list and what is asked of its elements: {node.value}(result, # < 1)", at=node.at)
    if node.kind != "call":
        return
    name = str(node.value)
    if name not in FUNCTIONS and name not in GUARDS:
        known = ", ".join(sorted([*FUNCTIONS, *GUARDS, "all", "any", "none", "one", "filter", "map", "count", "sum", "find"]))
        raise ConditionError(f"there is no function {name}: there are {known}", at=node.at)
    least, most = (_ARGUMENTS[name],) * 2 if name in GUARDS else FUNCTIONS[name][:2]
    if not least <= len(node.parts) <= most:
        wanted = f"{least}" if least == most else f"{least} to {most}"
        raise ConditionError(f"{name} takes {wanted} arguments, not {len(node.parts)}", at=node.at)


class _Evaluation:
    """One value put into one tree."""

    def __init__(self, result: Any, *, as_is: bool) -> None:
        self._result = result
        self._as_is = as_is
        self._steps = 0
        self._elements: list[Any] = []

    def of(self, node: Node) -> Any:
        self._steps += 1
        if self._steps > STEPS:
            raise ConditionError(f"takes more than {STEPS} steps for this value: ask for fewer series", at=node.at)
        return _KINDS[node.kind](self, node)

    def _plain(self, node: Node) -> Any:
        return node.value

    def _name(self, node: Node) -> Any:
        return self._result

    def _element(self, node: Node) -> Any:
        return self._elements[-1]

    def _list(self, node: Node) -> list[Any]:
        return [self.of(p) for p in node.parts]

    def _ternary(self, node: Node) -> Any:
        condition, yes, no = node.parts
        return self.of(yes if self._truth(condition) else no)

    def _truth(self, node: Node) -> bool:
        value = self.of(node)
        if value is None:
            raise Absent("a condition is nil")
        if not isinstance(value, bool):
            raise ConditionError(f"{shown(value)} is neither true nor false: compare it with something", at=node.at)
        return value

    def _unary(self, node: Node) -> Any:
        if node.value == "not":
            return not self._truth(node.parts[0])
        value = number(self.of(node.parts[0]), "the value")
        return -value if node.value == "-" else value

    def _member(self, node: Node) -> Any:
        return self._field(self.of(node.parts[0]), str(node.value), node)

    def _optional(self, node: Node) -> Any:
        holder = self.of(node.parts[0])
        return None if holder is None else self._field(holder, str(node.value), node)

    def _field(self, holder: Any, name: str, node: Node) -> Any:
        if holder is None and not self._as_is:
            raise Absent(f"there is nothing that has a {name}")
        if not isinstance(holder, dict):
            raise ConditionError(f"{shown(holder)} has no field {name}", at=node.at)
        return holder.get(name)

    def _index(self, node: Node) -> Any:
        holder, place = self.of(node.parts[0]), self.of(node.parts[1])
        if isinstance(holder, dict) and isinstance(place, str):
            return holder.get(place)
        if holder is None and not self._as_is:
            raise Absent(f"there is nothing to take {shown(place)} of")
        if not isinstance(holder, list | str):
            raise ConditionError(f"{shown(holder)} is not a list", at=node.at)
        if not isinstance(place, int) or isinstance(place, bool):
            raise ConditionError(f"{shown(place)} is not an index", at=node.at)
        if -len(holder) <= place < len(holder):
            return holder[place]
        if self._as_is or holder:
            raise ConditionError(f"index {place} of a list of {len(holder)}", at=node.at)
        raise Absent("the result is empty")

    def _slice(self, node: Node) -> Any:
        holder, first, last = (self.of(p) for p in node.parts)
        if not isinstance(holder, list | str):
            raise ConditionError(f"{shown(holder)} cannot be sliced", at=node.at)
        for end in (first, last):
            if end is not None and (not isinstance(end, int) or isinstance(end, bool)):
                raise ConditionError(f"{shown(end)} is not an index", at=node.at)
        return holder[first:last]

    def _call(self, node: Node) -> Any:
        name = str(node.value)
        if name == "isNil":
            return self._or_nil(node.parts[0]) is None
        if name == "default":
            found = self._or_nil(node.parts[0])
            return self.of(node.parts[1]) if found is None else found
        values = [self.of(p) for p in node.parts]
        try:
            return FUNCTIONS[name][2](*values)
        except OverflowError:
            raise ConditionError(f"{name}: the number is too large", at=node.at) from None

    def _or_nil(self, node: Node) -> Any:
        """The value, or nil where there is none: for what asks for exactly that."""
        try:
            return self.of(node)
        except Absent:
            return None

    def _quantifier(self, node: Node) -> Any:
        name, holder = str(node.value), self.of(node.parts[0])
        if holder is None and not self._as_is:
            raise Absent(f"{name} of nothing")
        if not isinstance(holder, list):
            raise ConditionError(f"{name}: {shown(holder)} is not a list", at=node.at)
        if not holder and not self._as_is and node.parts[0].kind in _PATHS and name not in ("filter", "map", "count", "find"):
            raise Absent("the result is empty")
        return _over(name, holder, self._asker(node))

    def _asker(self, node: Node) -> Callable[[Any], Any]:
        body = node.parts[1] if len(node.parts) == 2 else None

        def ask(element: Any) -> Any:
            if body is None:
                return element
            self._elements.append(element)
            try:
                return self.of(body) if node.value in ("map", "sum") else self._truth(body)
            finally:
                self._elements.pop()

        return ask

    def _binary(self, node: Node) -> Any:
        name = str(node.value)
        left, right = node.parts
        if name in ("||", "&&"):
            return self._either(left, right, decisive=name == "||")
        if name == "??":
            found = self._or_nil(left)
            return self.of(right) if found is None else found
        a, b = self.of(left), self.of(right)
        if name in ("==", "!="):
            return self._equal(a, b) == (name == "==")
        if name in _ORDER:
            return self._order(name, a, b, node)
        if name in _WORDS:
            return _worded(name, a, b, node)
        return _computed(name, a, b, node)

    def _either(self, left: Node, right: Node, *, decisive: bool) -> bool:
        """Or (decisive: true) and and (false). A side without an answer leaves it to the other: `result < 1 || isNaN(result)`."""
        try:
            if self._truth(left) is decisive:
                return decisive
        except Absent:
            if self._truth(right) is decisive:
                return decisive
            raise
        return self._truth(right)

    def _equal(self, a: Any, b: Any) -> bool:
        if is_number(a) and is_number(b):
            self._refuse_nan(a, b)
        elif isinstance(a, bool) != isinstance(b, bool):
            return False
        return bool(a == b)

    def _refuse_nan(self, *values: object) -> None:
        if not self._as_is and any(isinstance(v, float) and math.isnan(v) for v in values):
            raise Absent("the value is NaN")

    def _order(self, name: str, a: Any, b: Any, node: Node) -> bool:
        if isinstance(a, str) and isinstance(b, str):
            return _ORDER[name](a, b)
        if not self._as_is and (a is None or b is None):
            raise Absent("the value is null")
        if not (is_number(a) and is_number(b)):
            raise ConditionError(f"{shown(a)} {name} {shown(b)} compares what is not of one kind{_hint(a, b)}", at=node.at)
        self._refuse_nan(a, b)
        return _ORDER[name](a, b)


def _hint(a: Any, b: Any) -> str:
    if any(isinstance(v, list) for v in (a, b)):
        return ": a query gives a list, write result[0]"
    if any(isinstance(v, str) for v in (a, b)):
        return ": asFloat() makes a number of text"
    return ""


_ORDER: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "<": lambda a, b: bool(a < b),
    "<=": lambda a, b: bool(a <= b),
    ">": lambda a, b: bool(a > b),
    ">=": lambda a, b: bool(a >= b),
}
_WORDS: Final = frozenset({"in", "not in", "contains", "startsWith", "endsWith"})


def _worded(name: str, a: Any, b: Any, node: Node) -> bool:
    if name in ("in", "not in"):
        if not isinstance(b, list | dict):
            raise ConditionError(f"{name}: {shown(b)} is not a list", at=node.at)
        return (a in b if isinstance(b, list) or isinstance(a, str) else False) == (name == "in")
    if not (isinstance(a, str) and isinstance(b, str)):
        raise ConditionError(f"{name} wants text on both sides, not {shown(a)} and {shown(b)}", at=node.at)
    return b in a if name == "contains" else a.startswith(b) if name == "startsWith" else a.endswith(b)


def _computed(name: str, a: Any, b: Any, node: Node) -> Any:
    if name == "+" and isinstance(a, str) and isinstance(b, str):
        if len(a) + len(b) > TEXT:
            raise ConditionError("the text becomes too long", at=node.at)
        return a + b
    left, right = number(a, "the left side"), number(b, "the right side")
    if name in ("/", "%") and right == 0:
        raise ConditionError(f"{shown(left)} {name} 0: a division by zero is no measurement; compare the divisor first", at=node.at)
    try:
        if name == "..":
            return _range(left, right, node)
        if name == "%":
            return math.fmod(left, right)
        return _ARITHMETIC[name](left, right)
    except (OverflowError, ValueError, ZeroDivisionError):
        raise ConditionError(f"{shown(left)} {name} {shown(right)} is not a number that can be compared", at=node.at) from None


def _range(first: float, last: float, node: Node) -> list[int]:
    if not (isinstance(first, int) and isinstance(last, int)) or last - first > 1000:
        raise ConditionError("a range goes between two whole numbers, at most 1000 apart", at=node.at)
    return list(range(first, last + 1))


_ARITHMETIC: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: float(a) / float(b),
    "**": math.pow,
}


def _over(name: str, holder: list[Any], ask: Callable[[Any], Any]) -> Any:
    if name == "all":
        return all(ask(e) for e in holder)
    if name == "any":
        return any(ask(e) for e in holder)
    if name == "map":
        return [ask(e) for e in holder]
    if name == "sum":
        return math.fsum(number(ask(e), "a value of sum") for e in holder)
    if name == "find":
        return next((e for e in holder if ask(e)), None)
    met = [e for e in holder if ask(e)]
    return met if name == "filter" else len(met) if name == "count" else len(met) == (0 if name == "none" else 1)


_KINDS: Final[Mapping[str, Callable[[_Evaluation, Node], Any]]] = {
    "plain": _Evaluation._plain,  # noqa: SLF001 - the table of the class's own methods
    "name": _Evaluation._name,  # noqa: SLF001
    "element": _Evaluation._element,  # noqa: SLF001
    "list": _Evaluation._list,  # noqa: SLF001
    "ternary": _Evaluation._ternary,  # noqa: SLF001
    "unary": _Evaluation._unary,  # noqa: SLF001
    "member": _Evaluation._member,  # noqa: SLF001
    "optional": _Evaluation._optional,  # noqa: SLF001
    "index": _Evaluation._index,  # noqa: SLF001
    "slice": _Evaluation._slice,  # noqa: SLF001
    "call": _Evaluation._call,  # noqa: SLF001
    "quantifier": _Evaluation._quantifier,  # noqa: SLF001
    "binary": _Evaluation._binary,  # noqa: SLF001
}
