"""A picture as PNG, for messages and old pages: drawn larger than it is kept, which makes smooth lines of rough ones.

Pillow brings a font of its own, so the picture is the same in a container without any.
"""

from __future__ import annotations

import io
import itertools
import math
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from analyzers.plots.shapes import XY, Line, Picture, Polygon, Text

if TYPE_CHECKING:
    from PIL import Image as Images
    from PIL import ImageFont

SCALE: Final = 2  # pixels of the file for one of the picture: screens are dense
OVERSAMPLED: Final = 2
DASH: Final = (5.0, 4.0)


def png(picture: Picture) -> bytes:
    from PIL import Image

    k = SCALE * OVERSAMPLED
    canvas = Image.new("RGB", (picture.width * k, picture.height * k), "#ffffff")
    for shape in picture.shapes:
        match shape:
            case Polygon():
                _polygon(canvas, shape, k)
            case Line():
                _line(canvas, shape, k)
            case Text():
                _text(canvas, shape, k)
    small = canvas.resize((picture.width * SCALE, picture.height * SCALE), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    small.save(out, format="PNG")
    return out.getvalue()


def _polygon(canvas: Images.Image, shape: Polygon, k: int) -> None:
    from PIL import Image, ImageDraw

    points = [(x * k, y * k) for x, y in shape.points]
    if shape.opacity >= 1:
        ImageDraw.Draw(canvas).polygon(points, fill=shape.fill)
        return
    left, top = (math.floor(min(values)) for values in zip(*points, strict=True))
    right, bottom = (math.ceil(max(values)) + 1 for values in zip(*points, strict=True))
    mask = Image.new("L", (right - left, bottom - top), 0)
    ImageDraw.Draw(mask).polygon([(x - left, y - top) for x, y in points], fill=round(255 * shape.opacity))
    canvas.paste(shape.fill, (left, top), mask)


def _line(canvas: Images.Image, shape: Line, k: int) -> None:
    from PIL import ImageDraw

    draw = ImageDraw.Draw(canvas)
    width = max(1, round(shape.width * k))
    for part in _dashes(shape.points) if shape.dashed else [shape.points]:
        draw.line([(x * k, y * k) for x, y in part], fill=shape.stroke, width=width, joint="curve")


def _dashes(points: tuple[XY, ...]) -> list[tuple[XY, ...]]:
    """Straight pieces; a dash begins anew at each corner."""
    found: list[tuple[XY, ...]] = []
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        length = math.hypot(x1 - x0, y1 - y0)
        at = 0.0
        while length and at < length:
            a, b = at / length, min(at + DASH[0], length) / length
            found.append(((x0 + a * (x1 - x0), y0 + a * (y1 - y0)), (x0 + b * (x1 - x0), y0 + b * (y1 - y0))))
            at += sum(DASH)
    return found


@lru_cache(maxsize=32)
def _font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _text(canvas: Images.Image, shape: Text, k: int) -> None:
    from PIL import ImageDraw

    font = _font(shape.size * k)
    place = {"start": "ls", "middle": "ms", "end": "rs"}[shape.anchor]
    stroke = k * 0.15 if shape.bold else 0
    x, y = shape.at
    ImageDraw.Draw(canvas).text((x * k, y * k), shape.text, font=font, fill=shape.fill, anchor=place, stroke_width=stroke)
