"""Why: one Event is served in two groups under different field names; it is stored in the core form and rewritten at the edge."""

from __future__ import annotations

from daemon.sandbox.errors import JSON

_NAMES = {
    "involvedObject": "regarding",
    "message": "note",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}
_BACK = {v: k for k, v in _NAMES.items()}


def shown(event: JSON) -> JSON:
    """A stored event as `events.k8s.io/v1` shows it."""
    return {**{_NAMES.get(k, k): v for k, v in event.items()}, "apiVersion": "events.k8s.io/v1"}


def stored(event: JSON) -> JSON:
    """An event of `events.k8s.io/v1` in the form in which it is kept."""
    out: JSON = {_BACK.get(k, k): v for k, v in event.items()} | {"apiVersion": "v1"}
    about = out.setdefault("involvedObject", {})
    about.setdefault("namespace", (event.get("metadata") or {}).get("namespace"))
    return out
