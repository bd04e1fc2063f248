"""Times as the API server writes them: UTC, RFC 3339, microseconds where the type is MicroTime.

The library's election glued a Z onto local time; here no other zone can be expressed.
"""

from datetime import UTC, datetime


def micro_time(moment: datetime) -> str:
    """`metav1.MicroTime`: always six digits, which older servers insist on."""
    return _utc(moment).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def time(moment: datetime) -> str:
    """`metav1.Time`: whole seconds."""
    return _utc(moment).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse(text: str) -> datetime:
    """Any RFC 3339 time with a zone, in UTC; ValueError with the text otherwise."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no RFC 3339 time") from None
    return _utc(found)


def now() -> datetime:
    return datetime.now(UTC)


def _utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError(f"{moment!r} has no time zone")
    return moment.astimezone(UTC)
