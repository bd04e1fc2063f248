"""A flag service of one's own as the `flags` package knows it: so that its templates are weighed where they are written, not when they are used."""

from daemon.api.quantities import parse_duration
from daemon.api.sources import HttpFlagSource, HttpFlagWrite
from flags.generic_view import GenericSource, Reading, Writing

SETTLE = 30.0


def generic_source(http: HttpFlagSource, login: dict[str, str] | None = None) -> GenericSource:
    """What a FlagSource of type HTTP says; `login` is the header that its Secrets make."""
    read = http.read
    return GenericSource(
        url=http.url,
        read=Reading(
            path=read.path,
            percent=read.percent,
            owner=read.owner,
            gate=read.gate,
            cohorts=read.cohorts,
            enabled=read.enabled,
            revision=read.revision,
            changed_by=read.changed_by,
        ),
        set=_writing(http.set),
        zero=None if http.zero is None else _writing(http.zero),
        headers={**(http.headers or {}), **(login or {})},
        conditional=http.conditional or "None",
        settle=parse_duration(http.settle) if http.settle else SETTLE,
    )


def _writing(write: HttpFlagWrite) -> Writing:
    return Writing(path=write.path, body=write.body, method=write.method or "PUT")
