"""Why: the API server rewrites quantities (`0.1` becomes `100m`); equality of templates and no-op writes depend on it."""

from __future__ import annotations

import re
from decimal import ROUND_UP, Decimal

_FORM = re.compile(r"^([+-]?(?:\d+\.?\d*|\.\d+))(Ki|Mi|Gi|Ti|Pi|Ei|n|u|m|k|M|G|T|P|E|[eE][+-]?\d+)?$")
BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}


def canonical(text: str | float) -> str | None:
    """The canonical form of a quantity, or None when it is not one."""
    m = _FORM.match(str(text))
    if not m:
        return None
    number, suffix = Decimal(m[1]), m[2] or ""
    if suffix in BINARY:
        value = number * 1024 ** BINARY[suffix]
        return _binary(value)
    if suffix in DECIMAL:
        return _decimal(number.scaleb(DECIMAL[suffix]))
    return _exponent(number.scaleb(int(suffix[1:])))


def _binary(value: Decimal) -> str:
    if value != value.to_integral_value() or abs(value) < 1024:
        return _decimal(value)
    best = str(int(value))
    for suffix, power in BINARY.items():
        if value % 1024**power == 0:
            best = f"{int(value) // 1024**power}{suffix}"
    return best


def _scale(value: Decimal) -> tuple[int, int]:
    """The largest power of 1000 that leaves a whole number, and that number; below a billionth is rounded up."""
    value = value.quantize(Decimal("1e-9"), rounding=ROUND_UP) if value.as_tuple().exponent < -9 else value  # type: ignore[operator]
    if value == 0:
        return 0, 0
    for power in (18, 15, 12, 9, 6, 3, 0, -3, -6, -9):
        scaled = value.scaleb(-power)
        if scaled == scaled.to_integral_value():
            return power, int(scaled)
    return 0, int(value)


def _decimal(value: Decimal) -> str:
    power, number = _scale(value)
    return f"{number}{next(s for s, p in DECIMAL.items() if p == power)}"


def _exponent(value: Decimal) -> str:
    power, number = _scale(value)
    return f"{number}e{power}" if power else str(number)
