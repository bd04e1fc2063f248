"""What is often wrong with a template's query although every server accepts it: found by reading, said as a warning.

Each of these has made a good release fail or a bad one pass somewhere: a ratio without requests, a counter that is born with the
first error, a window that looks back over the step before, the rate of a recorded sum.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from daemon.api.analysis import AnalysisTemplateSpec, TemplateMetric
from daemon.api.canary import CanarySpec
from daemon.api.defaults import effective
from daemon.api.errors import ApiError
from daemon.api.quantities import format_duration, parse_duration

_WINDOW: Final = re.compile(r"\[\s*((?:[0-9]+(?:ms|[smhd]))+)\s*(?::[^\]]*)?\]")
_DAYS: Final = re.compile(r"([0-9]+)d")
_QUOTED: Final = re.compile(r"""("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')""")
_GUARDS: Final = re.compile(r"\b(?:isNaN|isNil|default|len)\s*\(|\?\?")
_NO_TRAFFIC: Final = re.compile(r"\bor\b|clamp_min|>\s*0|absent")
_ERRORS: Final = re.compile(r"""\{[^}]*=~?\s*["'](?:\^?\[?5|5\.|5xx|error|fail)""", re.IGNORECASE)
_FALLBACK: Final = re.compile(r"\bor\b")
_RECORDED: Final = re.compile(r"\b(rate|irate|increase|delta)\s*\(\s*([a-zA-Z_][a-zA-Z0-9_]*:[a-zA-Z0-9_:]*|sum\b)")


class Advice(NamedTuple):
    """One warning: the path below the object, and the way out."""

    path: str
    reason: str
    message: str


def advice(spec: AnalysisTemplateSpec, users: Sequence[tuple[str, CanarySpec]] = ()) -> Iterator[Advice]:
    """Warnings about a sound template. `users`: the Canaries that are known to name it, by name."""
    for index, metric in enumerate(spec.metrics):
        prometheus = metric.provider.prometheus  # the traps below are those of PromQL
        if prometheus is None:
            continue
        path = f"spec.metrics[{index}].provider.prometheus.query"
        for reason, message in (*_ratio(metric, prometheus.query), *_counters(prometheus.query), *_windows(prometheus.query, users)):
            yield Advice(path, reason, message)


def _ratio(metric: TemplateMetric, query: str) -> Iterator[tuple[str, str]]:
    """0/0 is NaN, and a numerator that does not exist yet makes the whole ratio empty."""
    numerator, slash, denominator = divided(query)
    if not slash:
        return
    guarded = metric.on_no_data is not None or any(_GUARDS.search(c or "") for c in (metric.success_condition, metric.failure_condition))
    if not guarded and not _NO_TRAFFIC.search(denominator):
        text = (
            "without requests this is 0/0, which is NaN: the release waits until there are some; "
            "say in onNoData what it should be, or ask isNaN(result[0])"
        )
        yield "ZeroByZero", text
    if _ERRORS.search(numerator) and not _FALLBACK.search(numerator):
        text = (
            "the errors' series is born with the first error: until then the numerator, and with it the ratio, is empty; "
            "append `or on() vector(0)` to the numerator"
        )
        yield "AbsentErrors", text


def divided(query: str) -> tuple[str, str, str]:
    """The query around its first division; a slash within quotes is none."""
    before = ""
    for part in _QUOTED.split(query):
        if part[:1] in ("'", '"'):
            before += part
            continue
        left, slash, _ = part.partition("/")
        before += left
        if slash:
            return before, slash, query[len(before) + 1 :]
    return before, "", ""


def _counters(query: str) -> Iterator[tuple[str, str]]:
    found = _RECORDED.search(query)
    if found:
        text = (
            f"{found[1]}() of {found[2]}: of a sum the restart of one pod looks like a reset of all; take the sum of the rates, "
            f"sum({found[1]}(...)), or record that"
        )
        yield "RateOfSum", text


def _windows(query: str, users: Sequence[tuple[str, CanarySpec]]) -> Iterator[tuple[str, str]]:
    windows = [w for text in _WINDOW.findall(query) if (w := _seconds(text)) is not None]
    longest = max(windows, default=0.0)
    for name, canary in users:
        times = [(parse_duration(s.dwell.min_duration), s) for s in effective(canary).steps or [] if s.dwell and s.dwell.min_duration]
        shortest = min((seconds for seconds, step in times if step.weight), default=None)
        if shortest is not None and longest > shortest:
            text = (
                f"looks back {format_duration(longest)}, longer than the shortest step of Canary {name} ({format_duration(shortest)}): it "
                "still counts what was before the step; take a shorter window, or give the step a longer dwell.minDuration"
            )
            yield "WindowLongerThanStep", text


def _seconds(text: str) -> float | None:
    hours = _DAYS.sub(lambda found: f"{int(found[1]) * 24}h", text)
    try:
        return parse_duration(hours)
    except ApiError:
        return None  # a window that only Prometheus can read


def users_of(template: str, canaries: Sequence[dict[str, Any]]) -> list[tuple[str, CanarySpec]]:
    """The Canaries that name this template, as far as they can be read."""
    found = []
    for body in canaries:
        try:
            spec = msgspec.convert(body.get("spec"), CanarySpec)
        except msgspec.ValidationError:
            continue  # its own fault is reported where it is
        named = [t.name for t in (spec.analysis.templates if spec.analysis else None) or []]
        named += [s.analysis.name for s in spec.steps or [] if s.analysis is not None]
        if template in named:
            found.append((str((body.get("metadata") or {}).get("name", "?")), spec))
    return found
