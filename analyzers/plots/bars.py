"""Requests by duration, both arms side by side: where a slower release is slower."""

from __future__ import annotations

import textwrap

from analyzers.account import Buckets, duration
from analyzers.plots.axes import FAINT
from analyzers.plots.palette import BAD, BASELINE, CANARY
from analyzers.plots.shapes import Shape, Text, box

LABELS = 62.0
GAP = 5.0


def bars(name: str, found: Buckets, top: float, sides: tuple[float, float]) -> tuple[list[Shape], float]:
    """Every bucket that any request fell into; those beyond the worst boundary stand out. The shapes, and where they end."""
    left, right = sides
    n_c, n_b = max(1, sum(found.canary)), max(1, sum(found.baseline))
    shares = [(c / n_c, b / n_b) for c, b in zip(found.canary, found.baseline, strict=True)]
    used = [k for k, (c, b) in enumerate(shares) if c or b]
    rows = range(used[0], used[-1] + 1)
    high = max(max(s) for s in shares)
    height, begin = min(16.0, 210.0 / len(rows)), left + LABELS
    shapes: list[Shape] = [Text(at=(left, top - 9), text=f"{name}: requests by duration", size=12.5, bold=True)]
    for n, k in enumerate(rows):
        y = top + 4 + n * (height + GAP)
        label = f"to {duration(found.edges[k])}" if k < len(found.edges) else f"over {duration(found.edges[-1])}"
        loud = found.slow and k > 0 and found.edges[k - 1] >= found.worst and shares[k][0] > shares[k][1]
        colour = BAD if loud else FAINT
        shapes.append(Text(at=(begin - 8, y + height / 2 + 4), text=label, size=11, fill=colour, anchor="end", bold=loud))
        for value, fill, part in ((shares[k][0], CANARY, 0.0), (shares[k][1], BASELINE, 0.5)):
            if value:
                long = max(1.5, (right - begin) * value / high)
                shapes.append(box(begin, y + part * height, begin + long, y + (part + 0.5) * height - 0.5, fill))
    y = top + 4 + len(rows) * (height + GAP) + 12
    shapes.append(Text(at=(begin, y), text="canary", size=11.5, fill=CANARY, bold=True))
    shapes.append(Text(at=(begin + 50, y), text="baseline", size=11.5, fill=BASELINE, bold=True))
    y += 6
    for part_of in textwrap.wrap(found.words, 44):
        y += 16
        shapes.append(Text(at=(left, y), text=part_of, size=11.5))
    return shapes, y
