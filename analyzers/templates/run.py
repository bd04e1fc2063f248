"""The metrics of one template together: the worst decides, the first bad one ends the others, and one sentence says which."""

from typing import Final

import msgspec

from analyzers.templates.metric import Measurement, Metric, Phase, Result, assess

_WORSE: Final = (Phase.SUCCESSFUL, Phase.RUNNING, Phase.PENDING, Phase.INCONCLUSIVE, Phase.ERROR, Phase.FAILED)
BAD: Final = frozenset({Phase.INCONCLUSIVE, Phase.ERROR, Phase.FAILED})


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """How many metrics ended how; dry runs are counted apart."""

    count: int = 0
    successful: int = 0
    failed: int = 0
    inconclusive: int = 0
    error: int = 0


def fresh(metrics: tuple[Metric, ...]) -> tuple[Result, ...]:
    return tuple(Result(name=m.name, dry_run=m.dry_run) for m in metrics)


def settle(metrics: tuple[Metric, ...], results: tuple[Result, ...], *, ending: bool = False) -> tuple[Result, ...]:
    """The results once a metric that counts went bad (or the run is ended): the others end too."""
    ended = ending or any(r.phase in BAD and not m.dry_run for m, r in zip(metrics, results, strict=True))
    if not ended:
        return results
    return tuple(msgspec.structs.replace(r, phase=assess(m, r, ending=True)) for m, r in zip(metrics, results, strict=True))


def phase_of(results: tuple[Result, ...]) -> Phase:
    """Running until every metric that counts is complete, then the worst; a dry run never matters."""
    count = [r.phase for r in results if not r.dry_run]
    if not count:
        open_ = any(not r.completed for r in results)
        return Phase.RUNNING if open_ else Phase.SUCCESSFUL
    if any(p in (Phase.PENDING, Phase.RUNNING) for p in count):
        return Phase.PENDING if all(p is Phase.PENDING for p in count) else Phase.RUNNING
    return max(count, key=_WORSE.index)


def summary(results: tuple[Result, ...], *, dry: bool = False) -> Summary:
    phases = [r.phase for r in results if r.dry_run == dry]
    return Summary(
        count=len(phases),
        successful=phases.count(Phase.SUCCESSFUL),
        failed=phases.count(Phase.FAILED),
        inconclusive=phases.count(Phase.INCONCLUSIVE),
        error=phases.count(Phase.ERROR),
    )


def deciding(metrics: tuple[Metric, ...], results: tuple[Result, ...]) -> tuple[Metric, Result] | None:
    """The metric that the run's phase hangs on: the worst one that counts."""
    pairs = [(m, r) for m, r in zip(metrics, results, strict=True) if not m.dry_run]
    return max(pairs, key=lambda pair: _WORSE.index(pair[1].phase), default=None)


def said(metric: Metric, result: Result) -> str:
    """What a metric measured and what was wanted, as a clause: 'success-rate measured 0.91, wanted result >= 0.95 (2 of 3 failed)'."""
    shown = _telling(result)
    if shown is None:
        return f"{metric.name} was not measured yet"
    if shown.phase is Phase.ERROR:
        return f"{metric.name} could not be measured: {shown.message} ({result.consecutive_error or result.error} times)"
    if shown.phase is Phase.NO_DATA or (not shown.value and shown.message):
        return f"{metric.name}: {shown.message}"
    counts = f"{result.successful} of {result.count} good"
    if result.failed:
        counts = f"{result.failed} of {result.count} failed, {max(0, metric.failure_limit)} tolerated"
    return f"{metric.name} measured {shown.value}, wanted {metric.wanted} ({counts})"


def _telling(result: Result) -> Measurement | None:
    """The newest measurement that has to do with the metric's phase."""
    same = [m for m in result.measurements if m.phase is result.phase]
    return same[-1] if same else result.last
