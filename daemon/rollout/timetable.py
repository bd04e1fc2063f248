"""What windows and freezes mean at a moment: leave given or withheld, until when, and why in words.

All by the wall clock of the window's zone: where it leaves out the very minute of an opening, the window opens with the first minute after
the gap that is still in it, and not at all if none is.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Final
from zoneinfo import ZoneInfo

from daemon.api.calendar import DAY_END, MIDNIGHT, MOVES, WEEK, FreezeSpec, Move, ReleaseWindow
from daemon.rollout.model import Permit

AHEAD: Final = 15  # days: a weekly window whose day falls into a gap opens a week later
_NAMES: Final[Mapping[Move, str]] = {"Start": "the start", "Step": "the next step", "Promotion": "the promotion"}


def is_open(window: ReleaseWindow, at: float) -> bool:
    """Whether the wall clock stands within the window."""
    return _within(window, datetime.fromtimestamp(at, _zone(window.time_zone)))


def next_opening(window: ReleaseWindow, at: float) -> float | None:
    """The first moment after `at`, at which it is closed, when it is open; None where there is none in a fortnight."""
    zone = _zone(window.time_zone)
    today = datetime.fromtimestamp(at, zone).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    found = (o for day in range(AHEAD) for o in _openings(window, today + timedelta(days=day), zone) if o > at)
    return next(found, None)


def window_permits(windows: Sequence[ReleaseWindow], at: float) -> Iterator[Permit]:
    """For each move that windows speak of and none of them is open for: leave withheld until the first that opens."""
    for move in MOVES:
        meant = [w for w in windows if not w.moves or move in w.moves]
        if not meant or any(is_open(w, at) for w in meant):
            continue
        opening = min(((o, w) for w in meant if (o := next_opening(w, at)) is not None), key=lambda pair: pair[0], default=None)
        when = f"the next opens {_local(*opening)}" if opening else "none opens in the next two weeks"
        yield Permit(
            source="Window",
            start=move != "Start",
            advance=move != "Step",
            promote=move != "Promotion",
            owned=True,
            why=f"{_NAMES[move]} waits for a release window ({'; '.join(words(w) for w in meant)[:300]}): {when}",
            until=opening[0] if opening else None,
        )


def freeze_permit(name: str, spec: FreezeSpec, at: float) -> Permit | None:
    """Leave withheld while the freeze lasts."""
    since, until = _epoch(spec.since), _epoch(spec.until)
    if (since is not None and at < since) or (until is not None and at >= until):
        return None
    lasts = f"until {_plain(until)}" if until is not None else "until it is deleted"
    return Permit(
        source="Freeze",
        start=False,
        advance=False,
        promote=False,
        owned=True,
        hotfix=spec.hotfixes != "Refused",
        why=f"frozen {lasts} by Freeze {name}: {spec.reason}",
        until=until,
    )


def reaches(spec: FreezeSpec, *, own: str, namespace: str, catalogue: str, labels: Mapping[str, str]) -> bool:
    """Whether a freeze of namespace `own` means a release of `namespace` with these labels."""
    wide = spec.namespaces or () if own == catalogue else ()
    if own != namespace and namespace not in wide and "*" not in wide:
        return False
    return spec.selector is None or all(labels.get(key) == value for key, value in spec.selector.match_labels.items())


def words(window: ReleaseWindow) -> str:
    """Such as 'Mon-Thu 09:00-16:00 Europe/Berlin'."""
    opens, closes = window.opens or MIDNIGHT, window.closes or DAY_END
    return " ".join(filter(None, (_days(window), f"{opens}-{closes}", window.time_zone)))


def _days(window: ReleaseWindow) -> str:
    days = [d for d in WEEK if d in (window.days or ())]
    together = len(days) > 2 and all(WEEK.index(b) == WEEK.index(a) + 1 for a, b in pairwise(days))
    return f"{days[0]}-{days[-1]}" if together else ",".join(days)


def _within(window: ReleaseWindow, local: datetime) -> bool:
    opens, closes = window.opens or MIDNIGHT, window.closes or DAY_END
    reading = f"{local:%H:%M}"
    today, yesterday = WEEK[local.weekday()], WEEK[local.weekday() - 1]
    days = window.days or WEEK
    if opens < closes:
        return today in days and opens <= reading < closes
    return (today in days and reading >= opens) or (yesterday in days and reading < closes)


def _openings(window: ReleaseWindow, day: datetime, zone: ZoneInfo) -> Iterator[float]:
    """Moments of the local `day` at which the window turns open, in order; minute by minute on a day whose clock changes."""
    hour, minute = map(int, (window.opens or MIDNIGHT).split(":"))
    begins, ends = (d.replace(tzinfo=zone) for d in (day, day + timedelta(days=1)))
    steady = begins.utcoffset() == ends.utcoffset()
    moments = [day.replace(hour=hour, minute=minute, tzinfo=zone).timestamp()] if steady else _minutes(begins.timestamp(), ends.timestamp())
    was = not steady and is_open(window, moments[0] - 60)
    for moment in moments:
        now = is_open(window, moment)
        if now and not was:
            yield moment
        was = now


def _minutes(first: float, last: float) -> list[float]:
    return [first + 60 * n for n in range(int(last - first) // 60)]


@lru_cache(maxsize=256)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _epoch(text: str | None) -> float | None:
    """A day that is in no calendar, which admission refuses, is no end and no beginning: the freeze holds."""
    try:
        return datetime.fromisoformat(text).timestamp() if text else None
    except ValueError:
        return None


def _local(at: float, window: ReleaseWindow) -> str:
    return f"{datetime.fromtimestamp(at, _zone(window.time_zone)):%a %Y-%m-%d %H:%M} {window.time_zone}"


def _plain(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%a %Y-%m-%d %H:%M} UTC"
