"""What a condition may call: number and list functions without side effects, and without regular expressions that could run away."""

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from analyzers.templates.errors import ConditionError

LARGEST: Final = 2**63


class Absent(Exception):
    """A value that the measurement does not have: NaN, nothing at this index, null where a number was meant."""


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def number(value: Any, what: str) -> float | int:
    """`value` as a number that fits; Absent for null."""
    if value is None:
        raise Absent(f"{what} is null")
    if not is_number(value):
        raise ConditionError(f"{what} is {shown(value)}, not a number")
    found: float | int = value
    if not isinstance(found, int) or abs(found) < LARGEST:
        return found
    try:
        return float(found)
    except OverflowError:
        raise ConditionError(f"{what} is too large for a number") from None


def shown(value: Any) -> str:
    """A value as a message shows it, bounded."""
    text = repr(value) if isinstance(value, str) else spelt(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def spelt(value: Any) -> str:
    """A value as people write it: nil, true, [0.1, NaN]."""
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else ("+Inf" if value > 0 else "-Inf") if math.isinf(value) else f"{value:.6g}"
    if isinstance(value, list):
        more = ", ..." if len(value) > 8 else ""
        return f"[{', '.join(spelt(v) for v in value[:8])}{more}]"
    if isinstance(value, dict):
        return f"an object with {', '.join(sorted(map(str, value))[:8]) or 'nothing'}"
    return str(value)


def _as_float(value: Any) -> float:
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            raise ConditionError(f"asFloat: {shown(value)} is not a number") from None
    return float(number(value, "asFloat's value"))


def _as_int(value: Any) -> int:
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            raise ConditionError(f"asInt: {shown(value)} is not a whole number") from None
    found = number(value, "asInt's value")
    if not math.isfinite(found):
        raise Absent("asInt of a value that is not finite")
    return int(found)


def _numbers(name: str, values: tuple[Any, ...]) -> list[float | int]:
    """Of a list, or of several values."""
    several = values[0] if len(values) == 1 and isinstance(values[0], list) else list(values)
    found = [number(v, f"a value of {name}") for v in several]
    if not found:
        raise Absent(f"{name} of nothing")
    return found


def _mean(*values: Any) -> float:
    found = _numbers("mean", values)
    return math.fsum(found) / len(found)


def _median(*values: Any) -> float:
    found = sorted(_numbers("median", values))
    half = len(found) // 2
    return float(found[half]) if len(found) % 2 else (found[half - 1] + found[half]) / 2


def _len(value: Any) -> int:
    if value is None:
        return 0
    if isinstance(value, str | list | dict):
        return len(value)
    raise ConditionError(f"len: {shown(value)} has no length")


def _rounded(name: str, how: Callable[[float], int]) -> Callable[[Any], float]:
    def applied(value: Any) -> float:
        found = float(number(value, f"{name}'s value"))
        return float(how(found)) if math.isfinite(found) else found

    return applied


def _half_away(value: float) -> int:
    """Halves go away from zero, as the peers round; Python's round() would take them to the even neighbour."""
    return math.floor(abs(value) + 0.5) * (1 if value >= 0 else -1)


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise ConditionError(f"{what} wants text, not {shown(value)}")
    return value


def _end(name: str, place: int) -> Callable[[Any], Any]:
    def applied(value: Any) -> Any:
        if value is None:
            return None
        if not isinstance(value, list):
            raise ConditionError(f"{name}: {shown(value)} is not a list")
        return value[place] if value else None

    return applied


FUNCTIONS: Final[Mapping[str, tuple[int, int, Callable[..., Any]]]] = {
    # name: least and most arguments
    "isNaN": (1, 1, lambda v: math.isnan(number(v, "isNaN's value"))),
    "isInf": (1, 1, lambda v: math.isinf(number(v, "isInf's value"))),
    "asFloat": (1, 1, _as_float),
    "float": (1, 1, _as_float),
    "asInt": (1, 1, _as_int),
    "int": (1, 1, _as_int),
    "string": (1, 1, spelt),
    "len": (1, 1, _len),
    "abs": (1, 1, lambda v: abs(number(v, "abs's value"))),
    "ceil": (1, 1, _rounded("ceil", math.ceil)),
    "floor": (1, 1, _rounded("floor", math.floor)),
    "round": (1, 1, _rounded("round", _half_away)),
    "max": (1, 32, lambda *v: max(_numbers("max", v))),
    "min": (1, 32, lambda *v: min(_numbers("min", v))),
    "mean": (1, 32, _mean),
    "median": (1, 32, _median),
    "first": (1, 1, _end("first", 0)),
    "last": (1, 1, _end("last", -1)),
    "lower": (1, 1, lambda v: _text(v, "lower").lower()),
    "upper": (1, 1, lambda v: _text(v, "upper").upper()),
    "trim": (1, 1, lambda v: _text(v, "trim").strip()),
    "keys": (1, 1, lambda v: list(v) if isinstance(v, dict) else []),
    "values": (1, 1, lambda v: list(v.values()) if isinstance(v, dict) else []),
}
GUARDS: Final = frozenset({"default", "isNil"})
