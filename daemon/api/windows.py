"""What is wrong with a window or a freeze: one that never opens or never holds waits for ever, or does nothing, and nobody would know."""

from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from daemon.api.calendar import DAY_END, MIDNIGHT, FreezeSpec, ReleaseWindow
from daemon.api.errors import Errors, fault
from daemon.api.sources import NotifierSpec
from daemon.api.structure import nearest


def window_faults(windows: list[ReleaseWindow], path: str) -> Errors:
    """Windows that never open, and time zones that nobody knows."""
    for index, window in enumerate(windows):
        here = f"{path}[{index}]"
        yield from _zone_faults(window.time_zone, f"{here}.timeZone")
        if window.opens == DAY_END:
            text = "24:00 is the end of a day; a window that opens then opens on the next day at 00:00"
            yield fault(f"{here}.opens", window.opens, text)
        elif (window.opens or MIDNIGHT) == (window.closes or DAY_END):
            text = "it closes when it opens, so it never opens; leave opens and closes out for whole days"
            yield fault(f"{here}.closes", window.closes, text)


def digest_faults(spec: NotifierSpec, path: str) -> Errors:
    """A weekly message that would come never, or on another day than the one that is written."""
    if spec.digest is None:
        return
    yield from _zone_faults(spec.digest.time_zone, f"{path}.digest.timeZone")
    if spec.digest.at == DAY_END:
        text = "24:00 is the end of a day; write 00:00 of the next day"
        yield fault(f"{path}.digest.at", spec.digest.at, text)


def _zone_faults(name: str, path: str) -> Errors:
    if not known_zone(name):
        near = nearest(name, sorted(available_timezones()))
        hint = f"; did you mean {near}?" if near else "; write a name such as Europe/Berlin or UTC"
        yield fault(path, name, f"no time zone of that name{hint}")


def known_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def freeze_faults(spec: FreezeSpec, path: str) -> Errors:
    """A freeze that never holds."""
    times = {}
    for name, text in (("from", spec.since), ("until", spec.until)):
        try:
            times[name] = datetime.fromisoformat(text) if text else None
        except ValueError:
            yield fault(f"{path}.{name}", text, f"{text} is no day of the calendar")
    since, until = times.get("from"), times.get("until")
    if since is not None and until is not None and until <= since:
        text = "is not after from, so it never holds; give it a later end, or leave it out"
        yield fault(f"{path}.until", spec.until, text)
