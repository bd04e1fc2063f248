"""What a picture is made of: a few shapes with colours, so that one layout can be written as SVG and as PNG."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

XY: TypeAlias = tuple[float, float]
Anchor: TypeAlias = Literal["start", "middle", "end"]


class Polygon(msgspec.Struct, frozen=True, kw_only=True):
    """A filled area; `opacity` 0..1."""

    points: tuple[XY, ...]
    fill: str
    opacity: float = 1.0


class Line(msgspec.Struct, frozen=True, kw_only=True):
    points: tuple[XY, ...]
    stroke: str
    width: float = 1.0
    dashed: bool = False


class Text(msgspec.Struct, frozen=True, kw_only=True):
    """`at` is the left, middle or right end of the baseline."""

    at: XY
    text: str
    size: float = 12.0
    fill: str = "#1f2933"
    anchor: Anchor = "start"
    bold: bool = False


Shape: TypeAlias = Polygon | Line | Text


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """In order: what comes later covers what came before. `title` is read aloud by a screen reader."""

    width: int
    height: int
    title: str
    shapes: tuple[Shape, ...]


def box(left: float, top: float, right: float, bottom: float, fill: str, opacity: float = 1.0) -> Polygon:
    return Polygon(points=((left, top), (right, top), (right, bottom), (left, bottom)), fill=fill, opacity=opacity)
