"""Frames, scales and ticks: from numbers to places on the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import msgspec

from analyzers.plots.shapes import XY, Line, Shape, Text

INK, FAINT, GRID = "#1f2933", "#7b8794", "#e4e7eb"


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """A panel: its place on the page, and the numbers at its edges. y grows upwards."""

    left: float
    top: float
    right: float
    bottom: float
    x: tuple[float, float]
    y: tuple[float, float]

    def at(self, x: float, y: float) -> XY:
        """Where a number is drawn; what lies outside is drawn at the edge."""
        return self.across(x), self.up(y)

    def across(self, x: float) -> float:
        low, high = self.x
        return self.left + (self.right - self.left) * min(1.0, max(0.0, (x - low) / (high - low or 1.0)))

    def up(self, y: float) -> float:
        low, high = self.y
        return self.bottom - (self.bottom - self.top) * min(1.0, max(0.0, (y - low) / (high - low or 1.0)))


def panel(frame: Frame, title: str, ticks: Sequence[float], label: Callable[[float], str]) -> list[Shape]:
    """Title, horizontal rules and their labels."""
    shapes: list[Shape] = [Text(at=(frame.left, frame.top - 9), text=title, size=12.5, bold=True)]
    for value in ticks:
        y = frame.up(value)
        shapes.append(Line(points=((frame.left, y), (frame.right, y)), stroke=GRID))
        shapes.append(Text(at=(frame.left - 7, y + 4), text=label(value), size=11, fill=FAINT, anchor="end"))
    return shapes


def steps(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers from low to high, about `count` of them."""
    raw = max(high - low, 1e-12) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    size = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first = math.ceil(low / size - 1e-9)
    return [k * size for k in range(first, math.floor(high / size + 1e-9) + 1)]


def minutes(frame: Frame, begin: float) -> list[Shape]:
    """The time axis under a frame, since the begin."""
    high = frame.x[1]
    scale, unit = (60.0, "min") if high - begin >= 180 else (1.0, "s")
    values = [v for v in steps(0.0, (high - begin) / scale, 7) if begin + v * scale <= high]
    shapes: list[Shape] = []
    for value in values:
        x = frame.across(begin + value * scale)
        shapes.append(Line(points=((x, frame.bottom), (x, frame.bottom + 4)), stroke=FAINT))
        text = f"{value:g} {unit}" if value == values[-1] else f"{value:g}"
        shapes.append(Text(at=(x, frame.bottom + 17), text=text, size=11, fill=FAINT, anchor="middle"))
    return shapes


def staircase(points: Sequence[XY]) -> tuple[XY, ...]:
    """Values that hold until the next one."""
    found: list[XY] = []
    for x, y in points:
        if found:
            found.append((x, found[-1][1]))
        found.append((x, y))
    return tuple(found)
