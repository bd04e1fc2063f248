"""From the audit log to figures: what one idle minute, one step and one rollout cost the API server, and how late a weight is.

Apart, as the goals say: Lease renewals, openings of watches with the lists that precede them, and periodic evidence (the AnalysisRun
once a minute, and status writes that bring nothing but newer numbers).
"""

import itertools
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

import msgspec

from bench.fleet import WEIGHTS
from tests.witness.audit import Audit, Event

APP: Final = re.compile(r"app-\d{3}")
NUMBERS: Final = frozenset({"metrics", "arms", "conditions", "waiting"})
ENDS: Final = frozenset({"Promoting", "RollingBack", "Inconclusive"})
STORED_WITH_VERDICT: Final = 5.0  # seconds after a verdict within which evidence belongs to it


class Rollout(msgspec.Struct, kw_only=True):
    """The requests of one rollout, in order; `periodic` apart."""

    requests: list[Event] = []
    periodic: list[Event] = []
    steps: list[float] = []  # moments of the decisions that began a step
    delays: list[float] = []  # from a decision to the weight that it wanted


def ours(audit: Audit) -> Audit:
    """Without Leases and what informers cost: opening a watch, and the list before it."""
    return audit.where(lambda e: e.resource != "leases" and e.verb != "watch" and not _relist(e))


def _relist(event: Event) -> bool:
    return event.verb == "list" and "limit=" in event.uri and "labelSelector" not in event.uri


def app_of(event: Event) -> str:
    """The application that a request is about; empty where it cannot be told."""
    found = APP.search(event.name) or APP.search(event.uri)
    return found.group() if found else ""


def rollouts(audit: Audit) -> dict[str, Rollout]:
    found: defaultdict[str, Rollout] = defaultdict(Rollout)
    for event in ours(audit):
        name = app_of(event)
        if name:
            _take(found[name], event)
    return dict(found)


def _take(rollout: Rollout, event: Event) -> None:
    status = _status(event)
    begun = _moment(((status or {}).get("rollout") or {}).get("stepStartedAt"))
    if begun is not None:
        rollout.steps.append(begun)
    if event.resource == "httproutes" and event.write and event.code < 400 and _wanted(event) in WEIGHTS:
        _note_delay(rollout, event)
    (rollout.periodic if _periodic(event, status, rollout) else rollout.requests).append(event)


def _note_delay(rollout: Rollout, event: Event) -> None:
    """Each step's weight once: the first write after the step was decided."""
    if len(rollout.delays) < len(rollout.steps):
        rollout.delays.append(event.finished - rollout.steps[-1])


def _status(event: Event) -> dict[str, Any] | None:
    if event.resource != "canaries" or event.subresource != "status" or not isinstance(event.request, dict):
        return None
    found: dict[str, Any] = event.request.get("status") or {}
    return found


def _moment(text: str | None) -> float | None:
    return datetime.fromisoformat(text).timestamp() if text else None


def _wanted(event: Event) -> int | None:
    """The canary's weight in a JSON Patch of a route: the last one that is written."""
    operations = event.request if isinstance(event.request, list) else []
    weights = [_weight(o) for o in operations if o.get("op") in ("add", "replace")]
    return next((w for w in reversed(weights) if w is not None), None)


def _weight(operation: dict[str, Any]) -> int | None:
    value = operation.get("value")
    if str(operation.get("path", "")).endswith("/weight") and isinstance(value, int):
        return value
    return value.get("weight") if isinstance(value, dict) else None


def _periodic(event: Event, status: dict[str, Any] | None, rollout: Rollout) -> bool:
    """The AnalysisRun once a minute (not the one of the verdict, nor its creation), and newer numbers in the status."""
    if event.resource == "analysisruns" and event.verb == "patch":
        return not _with_verdict(event, rollout)
    if status is None or "metrics" not in status or not set(status) <= {*NUMBERS, "rollout"}:
        return False
    return set(status.get("rollout") or {}) <= {"noDataSince"} and status.get("waiting", {}) is not None


def _with_verdict(event: Event, rollout: Rollout) -> bool:
    """The first in the seconds after the release left its steps."""
    ends = [e.time for e in rollout.requests if (_status(e) or {}).get("phase") in ENDS]
    stored = [e.time for e in rollout.requests if e.resource == "analysisruns"]
    last = max(ends, default=0.0)
    return event.time - last < STORED_WITH_VERDICT and not any(s > last for s in stored)


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    writes_per_step: float
    worst_step: int
    requests_per_rollout: float
    worst_rollout: int
    by_kind: dict[str, float]
    periodic_per_minute: float
    refused: int
    delays: tuple[float, ...]


def costs(found: Iterable[Rollout], minutes: float) -> Costs:
    """Steps are the middle ones: from one step's decision to the next one's."""
    every = list(found)
    steps = [n for rollout in every for n in _step_writes(rollout)]
    kinds: Counter[str] = Counter(f"{e.verb} {_resource(e)}" for rollout in every for e in rollout.requests)
    totals = [len(rollout.requests) for rollout in every]
    return Costs(
        writes_per_step=statistics.fmean(steps) if steps else float("nan"),
        worst_step=max(steps, default=0),
        requests_per_rollout=statistics.fmean(totals) if totals else float("nan"),
        worst_rollout=max(totals, default=0),
        by_kind={kind: n / len(every) for kind, n in kinds.most_common()},
        periodic_per_minute=sum(len(r.periodic) for r in every) / minutes if minutes else 0.0,
        refused=sum(e.code >= 400 for r in every for e in r.requests),
        delays=tuple(d for r in every for d in r.delays),
    )


def _step_writes(rollout: Rollout) -> list[int]:
    windows = itertools.pairwise(rollout.steps[1:])
    return [sum(1 for e in rollout.requests if e.write and begin <= e.time < end) for begin, end in windows]


def _resource(event: Event) -> str:
    return f"{event.resource}/{event.subresource}" if event.subresource else event.resource


def percentile(values: Iterable[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")
