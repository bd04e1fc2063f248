"""Before any release: the one sentence that says what the next one will do, and how long it will take.

The figures come from the service's own traffic, measured at rest. They are kept until they have changed enough to matter: a Canary at
rest must not be written every ten minutes because its requests come and go.
"""

from collections.abc import Callable, Sequence
from math import ceil, floor, log10
from typing import Final

import msgspec

from daemon.api.status import Forecast
from daemon.rollout.clock import span
from daemon.rollout.model import Fact
from daemon.rollout.steps import RolloutPlan, StepPlan

RATE_MATTERS: Final = 0.3  # relative change of a rate that is worth a write
ERRORS_MATTER: Final = 0.5  # the same of the share of errors ...
ERRORS_MATTER_PP: Final = 0.2  # ... and in points, where that share is small
COVERAGE_MATTERS: Final = 10  # points
ALL: Final = 100


def figure(value: float) -> float:
    """Two digits: more would be noise, and noise would be written."""
    if value <= 0:
        return 0.0
    digits = 1 - floor(log10(value))
    return round(value, digits)


def steady(old: Forecast | None, new: Forecast, *, failed: bool = False) -> Forecast:
    """What is shown after a measurement: each old figure, unless the new one differs enough to matter.

    `failed`: the source did not answer, which says nothing of the traffic: what was known of it stays.
    """
    if old is None:
        return new
    if failed and old.requests_per_second is not None:
        return old
    return msgspec.structs.replace(
        new,
        requests_per_second=_kept(old.requests_per_second, new.requests_per_second, RATE_MATTERS, 0.0),
        error_percent=_kept(old.error_percent, new.error_percent, ERRORS_MATTER, ERRORS_MATTER_PP),
        coverage_percent=_kept(old.coverage_percent, new.coverage_percent, 0.0, COVERAGE_MATTERS),
    )


def _kept(old: float | None, new: float | None, relative: float, points: float) -> float | None:
    if old is None or new is None or (old == 0) != (new == 0):
        return new
    return old if abs(new - old) <= max(relative * old, points) else new


class Expectation(Fact, frozen=True, kw_only=True):
    """How long until the verdict, in seconds from the first exposure, pauses of the owner's included."""

    seconds: float | None  # None: no number of requests proves it
    fits: bool  # before the deadline of the judgement
    partly: bool = False  # there are other metrics, which may take longer


def expect(plan: RolloutPlan, rate: float, seconds_to_prove: Callable[[int], float | None], overhead: float) -> Expectation:
    """From how long the proof would take at each step's weight alone: evidence of all steps adds up.

    Args:
        plan: the steps with their times.
        rate: requests a second that are split.
        seconds_to_prove: at a weight, `overhead` included; None where nothing is gained.
        overhead: seconds at the start that prove nothing (the warm-up).
    """
    proven, spent, paused, last = 0.0, 0.0, 0.0, None
    for step in plan.steps:
        lasts = _lasts(step, rate)
        spent, paused = spent + lasts, paused + (step.pause or 0.0)
        needed = seconds_to_prove(step.weight) if 0 < step.weight < ALL else None
        if needed is not None:
            last = max(needed - overhead, 1.0)
            proven += max(0.0, lasts - max(0.0, overhead - (spent - lasts))) / last
    if last is None:
        return Expectation(seconds=None, fits=False)
    more = max(0.0, 1.0 - proven) * last
    # Where the steps alone do not last for the warm-up, it is waited out at the last one.
    more += max(0.0, overhead - spent) if more else 0.0
    total = spent + more
    return Expectation(seconds=total, fits=total - paused <= plan.deadline)


def least_time(plan: RolloutPlan) -> float:
    """Of all steps."""
    return sum(max(s.dwell, s.pause or 0.0) for s in plan.steps)


def climb(plan: RolloutPlan, proof: float | None) -> Expectation:
    """The same for a ramp: `proof` is the time to the promotion without the steps' own times, which pass meanwhile or after."""
    if proof is None:
        return Expectation(seconds=None, fits=False)
    paused = sum(s.pause or 0.0 for s in plan.steps)
    total = max(proof, least_time(plan))
    return Expectation(seconds=total, fits=total - paused <= plan.deadline)


def _lasts(step: StepPlan, rate: float) -> float:
    """The least time of a step at this rate; a pause that a person ends has none."""
    share = step.weight / ALL
    requests = step.requests / (rate * share) if step.requests and rate * share > 0 else 0.0
    return max(step.dwell, step.pause or 0.0, requests)


def about(seconds: float) -> str:
    """A span as coarse as an estimate is: '8 min', '25 min', '2 h 30 min', '3 days'."""
    for limit, unit in ((120, 15), (600, 60), (3600, 300), (5 * 3600, 1800), (48 * 3600, 3600)):
        if seconds <= limit:
            return span(ceil(seconds / unit) * unit)
    return f"{ceil(seconds / 86400)} days"


class Outlook(Fact, frozen=True, kw_only=True):
    """All that the sentence speaks of."""

    plan: RolloutPlan
    service: str = ""
    routes: Sequence[str] = ()  # kind and name
    flags: Sequence[str] = ()
    metrics: Sequence[str] = ()
    source: str = ""
    interval: float = 15.0
    gitops: str = ""
    forecast: Forecast | None = None
    expectation: Expectation | None = None
    ramped: bool = False  # evidence moves the weight


def describe(found: Outlook) -> str:
    """The sentence: hold, steps, Service, route, flags, coverage, metrics, time, and what becomes of a bad version."""
    plan = found.plan
    hold = "kept paused between releases" if plan.hold_always else "held by the API server's policy"
    first = "".join(f"{said}, then " for said in dict.fromkeys(s.pick.words for s in plan.steps if s.pick is not None))
    ladder = ", ".join(f"{s.weight} %" for s in plan.steps if s.pick is None)
    ladder = f"{first}{'up to ' if found.ramped else ''}{ladder}"
    service = f" of Service {found.service}" if found.service else ""
    where = "on " + ", ".join(found.routes) if found.routes else "by share of pods"
    flags = "".join(f", flag {key} with it" for key in found.flags)
    pace = ", as the evidence allows" if found.ramped else ""
    after = "restored" if plan.restore else f"left held ({found.gitops or 'onRollback: Hold'})"
    return (
        f"The next template change is {hold}; the canary then gets {ladder} of requests{service} {where}{pace}{flags}; {_judged(found)}; "
        f"{_time(found)}; a bad template is {after}."
    )


def _judged(found: Outlook) -> str:
    """By what; templates alone measure nothing of the route."""
    if not found.plan.statistical:
        return f"{' and '.join(f'template {name}' for name in found.metrics) or 'the templates of its steps'} decide"
    return f"{_coverage(found)}; {_metrics(found)} from {found.source} every {span(found.interval)}"


def _coverage(found: Outlook) -> str:
    if not found.routes:
        return "every request of the pods counts"
    forecast = found.forecast
    if forecast is None:
        return "what share of its requests passes that route is being measured"
    if forecast.coverage_percent is None:
        return f"what share of its requests passes that route is unknown: {forecast.coverage_unknown or 'not measured'}"
    share = "all" if forecast.coverage_percent >= ALL else f"about {forecast.coverage_percent} %"
    return f"{share} of the requests that its pods count pass that route ({forecast.counted_by})"


def _metrics(found: Outlook) -> str:
    """Each with the counter that was found to mean it."""
    counters = {m.name: m.counter for m in found.forecast.metrics} if found.forecast is not None else {}
    return ", ".join(_metric(name, counters.get(name)) for name in found.metrics)


def _metric(name: str, counter: str | None) -> str:
    if counter is None:
        return name
    return f"{name} ({counter})" if counter else f"{name} (no counter found yet)"


def _time(found: Outlook) -> str:
    forecast, plan = found.forecast, found.plan
    least = max(least_time(plan), plan.bake)
    person = next((f", and as long as step {s.name} waits for a person" for s in plan.steps if s.endless), "")
    at_least = f"at least {span(least)}{person}"
    if forecast is None or not plan.statistical:
        return at_least
    rate = forecast.requests_per_second
    if rate is None:
        return f"{at_least}, how long is unknown: {forecast.traffic_unknown or 'its requests are not measured'}"
    if rate == 0:
        return f"{at_least}, and without requests, as in the last minutes, nothing is ever proven"
    seen = f"at {rate:g} requests/s"
    expected = found.expectation
    if expected is None:
        return f"{at_least}, {seen}"
    if expected.seconds is None:
        failing = f", {forecast.error_percent:g} % of them failing," if forecast.error_percent else ""
        return f"{at_least}, and {seen}{failing} no proof within these margins is possible"
    if not expected.fits:
        return f"{seen} a verdict takes about {about(expected.seconds)}, longer than its deadline of {span(plan.deadline)}"
    partly = " by the error ratios" if expected.partly else ""
    return f"{seen} a verdict takes about {about(expected.seconds)}{partly}{person}"
