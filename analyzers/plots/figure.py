"""The picture of one verdict: error share with its interval, odds over time, latency by bucket, and the weight beneath.

All that shares the time shares its axis, so that a step up and what came of it stand above each other. Colours are told apart by people
who see red and green alike, and each line is named where it ends.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable
from typing import Final

from analyzers.account import Account, Point, lines
from analyzers.plots.axes import FAINT, INK, Frame, minutes, panel, staircase, steps
from analyzers.plots.bars import bars
from analyzers.plots.palette import BAD, BASELINE, CANARY, GOOD, WEIGHT
from analyzers.plots.shapes import Line, Picture, Polygon, Shape, Text, box
from analyzers.ticks import Verdict

VERDICTS: Final = {Verdict.PASS: ("Pass", GOOD), Verdict.FAIL: ("Fail", BAD)}
WIDTH, LEFT, SIDE, COLUMN = 1000, 66, 660, 712
LEAST_ODDS, MOST_ODDS = -3.0, 6.0  # powers of ten: beyond, it is more than enough
POWERS: Final = {-2.0: "1 : 100", 0.0: "even", 2.0: "100 : 1", 4.0: "10 000 : 1", 6.0: "1 million : 1"}


def picture(found: Account, title: str, sentence: str = "") -> Picture:
    """`title` names the release; `sentence` is the one that every message shows."""
    said = sentence or found.reason
    shapes, top = _head(found, title, said)
    time = (found.points[0].at, max(found.points[-1].at, found.points[0].at + 1))
    bottom = top - 16
    for draw in (_shares, _odds, _weight):
        part, bottom = draw(found, time, bottom + 42)
        shapes += part
    side, low = _side(found, top + 26)
    height = int(max(bottom + 34, low + 16))
    return Picture(width=WIDTH, height=height, title=f"{title}: {said}", shapes=(box(0, 0, WIDTH, height, "#ffffff"), *shapes, *side))


def _head(found: Account, title: str, sentence: str) -> tuple[list[Shape], float]:
    word, colour = VERDICTS.get(found.verdict, (str(found.verdict), FAINT))
    width = 20 + 7.6 * len(word)
    shapes: list[Shape] = [
        box(24, 18, 24 + width, 41, colour),
        Text(at=(24 + width / 2, 34), text=word, size=13, fill="#ffffff", anchor="middle", bold=True),
        Text(at=(36 + width, 35.5), text=title, size=17, bold=True),
    ]
    y = 46.0
    for line in textwrap.wrap(sentence, 145)[:3]:
        y += 17
        shapes.append(Text(at=(24, y), text=line, size=12.5))
    return shapes, y + 14


def _shares(found: Account, time: tuple[float, float], top: float) -> tuple[list[Shape], float]:
    """The share of events of both arms: of the ratio that decided, else of the first."""
    names = list(dict.fromkeys(n for p in found.points for n in p.shares))
    if not names:
        return [], top - 42
    name = found.decided_by if found.decided_by in names else names[0]
    wanted = any(m.name == name and m.worse == "Lower" for m in found.metrics)
    seen = [(p.at, p.shares[name]) for p in found.points if name in p.shares]
    final = max(s.value or 0.0 for _, arms in seen[len(seen) // 2 :] for s in arms)
    widest = max(s.high for s in seen[-1][1])
    high = min(1.0, max(1.35 * final, min(widest * 1.1, 3.0 * final + 0.01), 0.002))
    frame = Frame(left=LEFT, top=top, right=SIDE, bottom=top + 150, x=time, y=(0.0, high))
    shapes = panel(frame, f"{name}: share of requests{'' if wanted else ' that failed'}", steps(0.0, high), _percent)
    ends: list[tuple[float, str, str]] = []
    for place, colour, word in ((1, BASELINE, "baseline"), (0, CANARY, "canary")):
        arm = [(at, arms[place]) for at, arms in seen]
        band = [frame.at(at, s.high) for at, s in arm] + [frame.at(at, s.low) for at, s in reversed(arm)]
        shapes.append(Polygon(points=tuple(band), fill=colour, opacity=0.13))
        shapes.append(Line(points=tuple(frame.at(at, s.value or 0.0) for at, s in arm), stroke=colour, width=2))
        last = arm[-1][1].value or 0.0
        ends.append((frame.up(last), f"{word} {_percent(last)}", colour))
    shapes.append(Text(at=(SIDE, top - 9), text="shaded: 95 % sure at every look at once", size=11, fill=FAINT, anchor="end"))
    return [*shapes, *_decided(found, frame), *_named(frame, ends)], frame.bottom


def _named(frame: Frame, ends: list[tuple[float, str, str]]) -> list[Shape]:
    """Names above the right end of their lines, moved apart where they would meet."""
    shapes: list[Shape] = []
    before = math.inf
    for y, text, colour in sorted(ends, reverse=True):
        place = max(min(y - 6, before - 15, frame.bottom - 5), frame.top + 11)
        shapes.append(Text(at=(frame.right - 6, place), text=text, size=12, fill=colour, anchor="end", bold=True))
        before = place
    return shapes


def _odds(found: Account, time: tuple[float, float], top: float) -> tuple[list[Shape], float]:
    frame = Frame(left=LEFT, top=top, right=SIDE, bottom=top + 140, x=time, y=(LEAST_ODDS, MOST_ODDS))
    shapes = panel(frame, "odds", list(POWERS), POWERS.__getitem__)
    needed = ((found.needed_worse, "rolled back", CANARY), (found.needed_fine, "promoted", GOOD))
    for need, word, colour in needed:
        y = frame.up(-math.log10(need))
        shapes.append(Line(points=((LEFT, y), (SIDE, y)), stroke=colour, dashed=True))
        shapes.append(Text(at=(LEFT + 6, y + (13 if colour == GOOD else -5)), text=f"{word} from {1 / need:.0f} : 1", size=11, fill=colour))
    ends = []
    curves: tuple[tuple[Callable[[Point], float], str, str], ...] = ((_fine, GOOD, "fine"), (_worse, CANARY, "worse"))
    for pick, colour, word in curves:
        line = tuple(frame.at(p.at, pick(p) / math.log(10)) for p in found.points)
        shapes.append(Line(points=line, stroke=colour, width=2))
        ends.append((line[-1][1], word, colour))
    return [*shapes, *_decided(found, frame), *_named(frame, ends)], frame.bottom


def _worse(p: Point) -> float:
    return p.log_e_worse


def _fine(p: Point) -> float:
    return p.log_e_fine


def _weight(found: Account, time: tuple[float, float], top: float) -> tuple[list[Shape], float]:
    most = max(p.weight for p in found.points)
    high = 100.0 if most > 60 else max(10.0, 1.25 * most)
    frame = Frame(left=LEFT, top=top, right=SIDE, bottom=top + 70, x=time, y=(0.0, high))
    shapes = panel(frame, "canary's share of the traffic", steps(0.0, high, 2), lambda v: f"{v:g} %")
    stairs = staircase([frame.at(p.at, p.weight) for p in found.points])
    shapes.append(Polygon(points=(frame.at(time[0], 0.0), *stairs, frame.at(time[1], 0.0)), fill=WEIGHT, opacity=0.75))
    return [*shapes, *_decided(found, frame), *minutes(frame, time[0])], frame.bottom


def _decided(found: Account, frame: Frame) -> list[Shape]:
    """The moment of the verdict, through all panels."""
    if found.decided_at is None:
        return []
    x = frame.across(found.decided_at)
    return [Line(points=((x, frame.top), (x, frame.bottom)), stroke=INK, dashed=True)]


def _side(found: Account, top: float) -> tuple[list[Shape], float]:
    shapes: list[Shape] = []
    y = top
    for name, buckets in found.histograms.items():
        part, y = bars(name, buckets, y, (COLUMN, WIDTH - 24.0))
        shapes += part
        y += 34
    for metric, line in zip(found.metrics, lines(found), strict=True):
        shapes.append(Text(at=(COLUMN, y), text=metric.name, size=12, bold=True))
        for part_of in textwrap.wrap(line.removeprefix(f"{metric.name}: "), 44):
            y += 16
            shapes.append(Text(at=(COLUMN, y), text=part_of, size=11.5))
        y += 26
    return shapes, y


def _percent(value: float) -> str:
    percent = round(100.0 * value, 6)
    return f"{percent:.2f}".rstrip("0").rstrip(".") + " %" if percent < 10 else f"{percent:.0f} %"
