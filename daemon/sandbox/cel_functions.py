"""Why: what CEL's operators and functions mean on plain JSON values, with the libraries that Kubernetes adds."""

from __future__ import annotations

import datetime as dt
import ipaddress
import math
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import re2  # type: ignore[import-untyped]

from daemon.sandbox import quantity as q


class CelError(Exception):
    """An expression that cannot be compiled, or fails on these values."""


class Typed(dict[str, Any]):
    """An object literal such as `Object.spec{...}` or `JSONPatch{...}`."""

    def __init__(self, name: str, fields: Mapping[str, Any]) -> None:
        super().__init__(fields)
        self.name = name


class Type(str):
    """The value of `type(x)` and of the name of a type."""

    __slots__ = ()


class Quantity(Decimal):
    """The value of `quantity("1Gi")`."""


def type_name(value: Any) -> str:
    names = {bool: "bool", int: "int", float: "double", str: "string", bytes: "bytes", list: "list", type(None): "null_type"}
    names |= {
        dt.datetime: "google.protobuf.Timestamp",
        dt.timedelta: "google.protobuf.Duration",
        Type: "type",
        Quantity: "kubernetes.Quantity",
    }
    return names.get(type(value), "map")


def overload(*values: Any) -> CelError:
    return CelError(f"no such overload: ({', '.join(type_name(v) for v in values)})")


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def equal(a: Any, b: Any) -> bool:
    """CEL equality: numbers by value, lists and maps in depth, different types never."""
    if _number(a) and _number(b):
        return bool(a == b)
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(equal(v, b[k]) for k, v in a.items())
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(equal, a, b))
    return type(a) is type(b) and bool(a == b)


def _ordered(a: Any, b: Any) -> None:
    if not ((_number(a) and _number(b)) or (type(a) is type(b) and isinstance(a, (str, bytes, bool, dt.datetime, dt.timedelta)))):
        raise overload(a, b)


def _compare(test: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def run(a: Any, b: Any) -> bool:
        _ordered(a, b)
        return test(a, b)

    return run


def _in(a: Any, b: Any) -> bool:
    if isinstance(b, list):
        return any(equal(a, v) for v in b)
    if isinstance(b, Mapping):
        return isinstance(a, (str, int, bool)) and a in b
    raise overload(a, b)


def _whole(value: int) -> int:
    if not -(2**63) <= value < 2**63:
        raise CelError("integer overflow")
    return value


def _add(a: Any, b: Any) -> Any:
    if _number(a) and type(a) is type(b):
        return _whole(a + b) if isinstance(a, int) else a + b
    if type(a) is type(b) and isinstance(a, (str, list, bytes, dt.timedelta)):
        return a + b
    if {type(a), type(b)} == {dt.datetime, dt.timedelta}:
        return a + b
    raise overload(a, b)


def _sub(a: Any, b: Any) -> Any:
    if _number(a) and type(a) is type(b):
        return _whole(a - b) if isinstance(a, int) else a - b
    if (
        isinstance(a, (dt.datetime, dt.timedelta))
        and isinstance(b, (dt.datetime, dt.timedelta))
        and not (isinstance(a, dt.timedelta) and isinstance(b, dt.datetime))
    ):
        return a - b  # type: ignore[operator]
    raise overload(a, b)


def _mul(a: Any, b: Any) -> Any:
    if _number(a) and type(a) is type(b):
        return _whole(a * b) if isinstance(a, int) else a * b
    raise overload(a, b)


def _div(a: Any, b: Any) -> Any:
    if not (_number(a) and type(a) is type(b)):
        raise overload(a, b)
    if isinstance(a, float):
        return a / b if b else math.nan if a == 0 or math.isnan(a) else math.copysign(math.inf, a)
    if b == 0:
        raise CelError("division by zero")
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def _mod(a: Any, b: Any) -> Any:
    if not (isinstance(a, int) and isinstance(b, int)) or isinstance(a, bool) or isinstance(b, bool):
        raise overload(a, b)
    if b == 0:
        raise CelError("modulus by zero")
    return int(math.fmod(a, b)) if abs(a) < 2**53 else a - b * _div(a, b)


def negate(a: Any) -> Any:
    if not _number(a):
        raise overload(a)
    return -a


def index(value: Any, at: Any) -> Any:
    if isinstance(value, list):
        if not isinstance(at, int) or isinstance(at, bool) or not 0 <= at < len(value):
            raise CelError(f"index out of bounds: {at}")
        return value[at]
    if isinstance(value, Mapping):
        if at not in value:
            raise CelError(f"no such key: {at}")
        return value[at]
    raise overload(value, at)


OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "relation_lt": _compare(lambda a, b: a < b),
    "relation_le": _compare(lambda a, b: a <= b),
    "relation_gt": _compare(lambda a, b: a > b),
    "relation_ge": _compare(lambda a, b: a >= b),
    "relation_eq": equal,
    "relation_ne": lambda a, b: not equal(a, b),
    "relation_in": _in,
    "addition_add": _add,
    "addition_sub": _sub,
    "multiplication_mul": _mul,
    "multiplication_div": _div,
    "multiplication_mod": _mod,
}


def call(name: str, function: Callable[..., Any], *args: Any) -> Any:
    """Call a function; arguments it has no overload for are an error of the expression, not of the server."""
    try:
        return function(*args)
    except CelError:
        raise
    except (TypeError, ValueError, AttributeError, IndexError, OverflowError, ArithmeticError) as e:
        kinds = ", ".join(type_name(a) for a in args)
        raise CelError(f"{name}({kinds}): {e}") from None


_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(h|ms|m|s|us|µs|ns)")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def duration(text: Any) -> dt.timedelta:
    if isinstance(text, dt.timedelta):
        return text
    sign, body = (-1, text[1:]) if text[:1] == "-" else (1, text.removeprefix("+"))
    found = _DURATION.findall(body)
    if body != "0" and (not found or "".join(a + b for a, b in found) != body):
        raise CelError(f"invalid duration {text!r}")
    return sign * dt.timedelta(seconds=sum(float(n) * _UNITS[u] for n, u in found))


def timestamp(text: Any) -> dt.datetime:
    if isinstance(text, dt.datetime):
        return text
    if isinstance(text, int):
        return dt.datetime.fromtimestamp(text, dt.UTC)
    moment = dt.datetime.fromisoformat(text)
    if moment.tzinfo is None or "T" not in text:
        raise CelError(f"invalid timestamp {text!r}")
    return moment


def to_string(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}" if value != int(value) else str(int(value))
    if isinstance(value, dt.timedelta):
        return f"{value.total_seconds():g}s"
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, (str, int)):
        return str(value)
    raise overload(value)


def _int(value: Any) -> int:
    if isinstance(value, dt.datetime):
        return int(value.timestamp())
    if isinstance(value, bool):
        raise overload(value)
    return _whole(int(value))


def _matches(text: str, pattern: str) -> bool:
    if not isinstance(text, str):
        raise overload(text, pattern)
    return re2.search(pattern, text) is not None


def _size(value: Any) -> int:
    if isinstance(value, (str, bytes, list, Mapping)):
        return len(value)
    raise overload(value)


def parse_quantity(text: Any) -> Quantity:
    form = q.canonical(text)
    if form is None:
        raise CelError(f"quantities must match the regular expression, got {text!r}")
    m = re.match(r"^([+-]?[\d.]+)(.*)$", form)
    assert m
    suffix = m[2]
    if suffix in q.BINARY:
        return Quantity(Decimal(m[1]) * 1024 ** q.BINARY[suffix])
    return Quantity(Decimal(m[1]).scaleb(q.DECIMAL[suffix] if suffix in q.DECIMAL else int(suffix[1:])))


def _is_url(text: str) -> bool:
    parts = urlsplit(text)
    return bool(parts.scheme and (parts.netloc or parts.path.startswith("/"))) or text.startswith("/")


def _valid(parse: Callable[[Any], Any]) -> Callable[[Any], bool]:
    def run(value: Any) -> bool:
        try:
            parse(value)
        except (CelError, ValueError):
            return False
        return True

    return run


def _find(text: str, pattern: str) -> str:
    m = re2.search(pattern, text)
    return str(m.group()) if m else ""


def _replace(text: str, old: str, new: str, count: int = -1) -> str:
    return text.replace(old, new, count)


def _substring(text: str, start: int, end: int | None = None) -> str:
    stop = len(text) if end is None else end
    if not 0 <= start <= stop <= len(text):
        raise CelError(f"index out of range: {start}")
    return text[start:stop]


def _position(find: Callable[[Any, Any], int]) -> Callable[[Any, Any], int]:
    def run(value: Any, wanted: Any) -> int:
        if isinstance(value, str):
            return find(value, wanted)
        hits = [i for i, v in enumerate(value) if equal(v, wanted)]
        return (hits[0] if find is str.find else hits[-1]) if hits else -1

    return run


def _split(text: str, separator: str, limit: int = -1) -> list[str]:
    if separator == "":
        return list(text)
    if limit == 0:
        return []
    return text.split(separator, limit - 1 if limit > 0 else -1)


def _sum(values: list[Any]) -> Any:
    if not values:
        return 0
    total = values[0]
    for v in values[1:]:
        total = _add(total, v)
    return total


def _text_only(name: str) -> Callable[..., Any]:
    def run(text: Any, part: Any) -> Any:
        if not isinstance(text, str) or not isinstance(part, str):
            raise overload(text, part)
        return getattr(text, name)(part)

    return run


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "size": _size,
    "int": _int,
    "uint": _int,
    "double": float,
    "string": to_string,
    "bytes": lambda v: v.encode() if isinstance(v, str) else v,
    "bool": lambda v: v if isinstance(v, bool) else {"true": True, "false": False}[v],
    "dyn": lambda v: v,
    "type": lambda v: Type(type_name(v)),
    "duration": duration,
    "timestamp": timestamp,
    "matches": _matches,
    "quantity": parse_quantity,
    "isQuantity": lambda v: q.canonical(v) is not None,
    "isURL": _is_url,
    "isIP": _valid(ipaddress.ip_address),
    "isCIDR": lambda v: "/" in v and _valid(lambda t: ipaddress.ip_network(t, strict=False))(v),
    "ip": ipaddress.ip_address,
    "cidr": lambda v: ipaddress.ip_network(v, strict=False),
    "jsonpatch.escapeKey": lambda v: v.replace("~", "~0").replace("/", "~1"),
    "math.greatest": lambda *v: max(v[0] if len(v) == 1 and isinstance(v[0], list) else v),
    "math.least": lambda *v: min(v[0] if len(v) == 1 and isinstance(v[0], list) else v),
}

METHODS: dict[str, Callable[..., Any]] = {
    "size": _size,
    "startsWith": _text_only("startswith"),
    "endsWith": _text_only("endswith"),
    "contains": lambda t, p: p in t if isinstance(t, str) and isinstance(p, str) else (_ for _ in ()).throw(overload(t, p)),
    "matches": _matches,
    "find": _find,
    "findAll": lambda t, p: [m.group() for m in re2.finditer(p, t)],
    "lowerAscii": lambda t: t.lower(),
    "upperAscii": lambda t: t.upper(),
    "trim": lambda t: t.strip(),
    "charAt": lambda t, i: "" if i == len(t) else t[i],
    "replace": _replace,
    "split": _split,
    "join": lambda v, sep="": sep.join(v),
    "substring": _substring,
    "indexOf": _position(str.find),
    "lastIndexOf": _position(str.rfind),
    "isSorted": lambda v: all(a <= b for a, b in pairwise(v)),
    "sum": _sum,
    "min": min,
    "max": max,
    "reverse": lambda v: v[::-1],
    "getSeconds": lambda v: int(v.total_seconds()) if isinstance(v, dt.timedelta) else v.second,
    "getMinutes": lambda v: int(v.total_seconds() // 60) if isinstance(v, dt.timedelta) else v.minute,
    "getHours": lambda v: int(v.total_seconds() // 3600) if isinstance(v, dt.timedelta) else v.hour,
    "getFullYear": lambda v: v.year,
    "getMonth": lambda v: v.month - 1,
    "getDate": lambda v: v.day,
    "getDayOfMonth": lambda v: v.day - 1,
    "getDayOfWeek": lambda v: v.isoweekday() % 7,
    "isGreaterThan": lambda a, b: a > b,
    "isLessThan": lambda a, b: a < b,
    "compareTo": lambda a, b: (a > b) - (a < b),
    "asInteger": int,
    "asApproximateFloat": float,
    "family": lambda v: v.version,
    "isLoopback": lambda v: v.is_loopback,
    "isUnspecified": lambda v: v.is_unspecified,
    "containsIP": lambda net, ip: ipaddress.ip_address(ip) in net,
    "sign": lambda a: (a > 0) - (a < 0),
}

TYPES: dict[str, Type] = {n: Type(n) for n in ("bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type", "type")}
