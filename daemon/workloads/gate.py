"""Whether pods say truly which version they are of: the gate of a flag stands on the track that each pod hands to its flag SDK.

A canary pod without its track never sees the flag, so the release would judge the new code with the flag off; a stable pod with the
canary's track sees it, so everybody would. What the application makes of the variable is not to be seen from here.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from daemon.api import names
from daemon.rollout.model import Problem

FIELD: Final = f"metadata.labels['{names.TRACK}']"


def tell_track(spec: dict[str, Any]) -> None:
    """Every container that runs beside the others gets the track of its pod by the downward API; sidecars are started first."""
    for container in _running(spec):
        env = [e for e in container.get("env") or [] if e.get("name") != names.TRACK_ENV]
        source = {"fieldRef": {"apiVersion": "v1", "fieldPath": FIELD}}
        container["env"] = [*env, {"name": names.TRACK_ENV, "valueFrom": source}]


def _running(spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    sidecars = [c for c in spec.get("initContainers") or [] if c.get("restartPolicy") == "Always"]
    return [*sidecars, *(spec.get("containers") or [])]


def pretends(template: Mapping[str, Any]) -> Problem | None:
    """A template of the user's that says of itself that it is the canary: its stable pods would pass every gate."""
    labels = (template.get("metadata") or {}).get("labels") or {}
    told = [c.get("name", "") for c in _running(template.get("spec") or {}) if _literal(c) == names.TRACK_CANARY]
    if labels.get(names.TRACK) == names.TRACK_CANARY:
        what = f"label {names.TRACK} to {names.TRACK_CANARY}"
    elif told:
        what = f"{names.TRACK_ENV} of container {told[0]} to {names.TRACK_CANARY}"
    else:
        return None
    return Problem(
        reason="GateNotWired",
        message=f"the pod template itself sets {what}: stable pods would see a gated flag as soon as the canary does",
        way_out="remove it from the template; Linnet gives it to canary pods alone",
    )


def _literal(container: Mapping[str, Any]) -> str:
    return next((str(e.get("value") or "") for e in container.get("env") or [] if e.get("name") == names.TRACK_ENV), "")


def unwired(pod: Mapping[str, Any], containers: Iterable[str]) -> str:
    """Why a live canary pod cannot tell its track; empty where each of `containers` can. Others were put in by somebody else."""
    metadata = pod.get("metadata") or {}
    name = metadata.get("name", "")
    if ((metadata.get("labels") or {}).get(names.TRACK)) != names.TRACK_CANARY:
        return f"pod {name} has no label {names.TRACK}={names.TRACK_CANARY}"
    wired = {c.get("name") for c in _running(pod.get("spec") or {}) if _from_label(c) or _literal(c) == names.TRACK_CANARY}
    missing = [c for c in containers if c not in wired]
    if not missing:
        return ""
    return f"container {missing[0]} of pod {name} does not get {names.TRACK_ENV}, which tells its flag SDK that it is the canary"


def _from_label(container: Mapping[str, Any]) -> bool:
    sources = (e.get("valueFrom") or {} for e in container.get("env") or [] if e.get("name") == names.TRACK_ENV)
    return any((s.get("fieldRef") or {}).get("fieldPath") == FIELD for s in sources)


def containers_of(template: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the containers that must know the track."""
    return tuple(str(c.get("name", "")) for c in _running(template.get("spec") or {}))
