"""Instants in status are RFC 3339 text; decisions compare seconds. Both directions, and nothing that reads a clock."""

from datetime import UTC, datetime


def stamp(seconds: float) -> str:
    """Seconds since the epoch as RFC 3339 in UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def epoch(text: str) -> float:
    """The inverse of `stamp`; accepts any RFC 3339 instant."""
    return datetime.fromisoformat(text).timestamp()


def since(text: str | None, now: float) -> float:
    """Seconds from `text` to `now`; 0 where nothing was recorded."""
    return 0.0 if text is None else max(0.0, now - epoch(text))


def span(seconds: float) -> str:
    """A duration as people say it: '0.4 s', '45 s', '8 min 10 s', '2 h 20 min'."""
    if seconds < 10 and round(seconds, 1) != round(seconds):
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
