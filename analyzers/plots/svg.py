"""A picture as SVG: text stays text, to be searched, copied and read aloud; no script, no reference to anything outside."""

from __future__ import annotations

from xml.sax.saxutils import escape, quoteattr

from analyzers.plots.shapes import Line, Picture, Polygon, Shape, Text

FONT = "ui-sans-serif, system-ui, 'Segoe UI', Helvetica, Arial, sans-serif"


def svg(picture: Picture) -> str:
    w, h = picture.width, picture.height
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" width="{w}" height="{h}" role="img" '
        f'aria-label={quoteattr(_clean(picture.title))} font-family="{FONT}">'
    )
    return "\n".join([head, *(_element(s) for s in picture.shapes), "</svg>\n"])


def _element(shape: Shape) -> str:
    match shape:
        case Polygon():
            opacity = "" if shape.opacity >= 1 else f' fill-opacity="{shape.opacity:g}"'
            return f'<polygon points="{_points(shape.points)}" fill="{shape.fill}"{opacity}/>'
        case Line():
            dashes = ' stroke-dasharray="5 4"' if shape.dashed else ""
            style = f'stroke="{shape.stroke}" stroke-width="{shape.width:g}" stroke-linejoin="round"{dashes}'
            return f'<polyline points="{_points(shape.points)}" fill="none" {style}/>'
        case Text():
            weight = ' font-weight="600"' if shape.bold else ""
            anchor = "" if shape.anchor == "start" else f' text-anchor="{shape.anchor}"'
            x, y = shape.at
            style = f'font-size="{shape.size:g}" fill="{shape.fill}"{weight}{anchor}'
            return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(_clean(shape.text))}</text>'


def _points(points: tuple[tuple[float, float], ...]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _clean(text: str) -> str:
    """Without the control characters that no XML may have."""
    return "".join(c for c in text if c >= " ")
