"""The cluster as the records leave it: every object after the last accepted write that the API server told of.

Only what was written in the API server's answers counts. An answer that is older than what is known is left out, so records may come in
the order in which requests ended.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from tests.witness.audit import Event

Object = dict[str, Any]
Key = tuple[str, str, str]  # resource, namespace, name
TRACK, OWNER, REVISION = "linnet.dev/track", "linnet.dev/owned-by", "linnet.dev/revision"


class Folded:
    """Objects by resource, namespace and name."""

    def __init__(self) -> None:
        self._objects: dict[Key, Object] = {}

    def take(self, event: Event) -> tuple[Object | None, Object | None]:
        """One accepted write: the object before it and after it, None where there is none."""
        key = (event.resource, event.namespace, event.name)
        before, after = self._objects.get(key), event.response
        if event.verb == "delete" and not _still_there(after):
            return self._objects.pop(key, None), None
        if not isinstance(after, dict) or after.get("kind") == "Status" or "metadata" not in after or event.name == "status":
            return before, before
        if after.get("kind") == "Scale":
            return before, self._scaled(key, after)
        if _gone(after):
            return self._objects.pop(key, None), None
        if before is not None and _version(after) < _version(before):
            return before, before
        self._objects[key] = after
        return before, after

    def _scaled(self, key: Key, scale: Object) -> Object | None:
        found = self._objects.get(key)
        if found is not None:
            found = self._objects[key] = {**found, "spec": {**found["spec"], "replicas": scale["spec"].get("replicas", 0)}}
        return found

    def get(self, resource: str, namespace: str, name: str) -> Object | None:
        return self._objects.get((resource, namespace, name))

    def all(self, resource: str, namespace: str) -> Iterator[Object]:
        for (kind, where, _), found in tuple(self._objects.items()):
            if kind == resource and where == namespace:
                yield found


def _still_there(answer: Any) -> bool:
    """A finalizer, or a pod's grace, keeps a deleted object."""
    return isinstance(answer, dict) and bool((answer.get("metadata") or {}).get("deletionTimestamp")) and not _gone(answer)


def _gone(found: Object) -> bool:
    metadata = found["metadata"]
    over = metadata.get("deletionGracePeriodSeconds", 0) == 0
    return bool(metadata.get("deletionTimestamp")) and not metadata.get("finalizers") and over


def _version(found: Object) -> int:
    return int(found["metadata"].get("resourceVersion") or 0)


# What an object says, in the words of the promises.


def labels(found: Object) -> Object:
    return found["metadata"].get("labels") or {}


def notes(found: Object) -> Object:
    return found["metadata"].get("annotations") or {}


def owner(found: Object) -> str:
    """`Deployment/shop` of the controller that owns it."""
    refs = found["metadata"].get("ownerReferences") or []
    return next((f"{r['kind']}/{r['name']}" for r in refs if r.get("controller")), "")


def version(template: Object) -> str:
    """What a template runs: its first container's image, and its release number."""
    container = ((template.get("spec") or {}).get("containers") or [{}])[0]
    number = next((str(e.get("value")) for e in container.get("env") or [] if e["name"] == "RELEASE"), "")
    return f"{container.get('image')}#{number}"


def share(route: Object | None) -> int | None:
    """Percent of the first rule that goes to a canary; None where none of its backends is one."""
    rules = ((route or {}).get("spec") or {}).get("rules") or []
    backends = rules[0].get("backendRefs") or [] if rules else []
    weights = {b["name"]: int(b.get("weight", 1)) for b in backends}
    if not any(name.endswith("-canary") for name in weights):
        return None
    total = sum(weights.values())
    return round(100 * sum(w for name, w in weights.items() if name.endswith("-canary")) / total) if total else 0


def foreign_fields(found: Object, manager: str = "linnet") -> list[str]:
    """What `manager` owns in an object beside annotations of its own."""
    kept = []
    for entry in found["metadata"].get("managedFields") or []:
        if entry["manager"] != manager or entry.get("subresource"):
            continue
        fields = json.loads(json.dumps(entry.get("fieldsV1") or {}))
        metadata = fields.pop("f:metadata", {})
        others = [k for k in metadata.pop("f:annotations", {}) if k != "." and not k.startswith("f:linnet.dev/")]
        if fields or others or any(metadata.values()):
            kept.append(json.dumps([fields, others, metadata]))
    return kept


def stored_versions(world: Folded, namespace: str) -> dict[str, str]:
    """Revision -> what it runs, by the stored templates and by canaries that are there."""
    found = {}
    for item in world.all("controllerrevisions", namespace):
        if REVISION in labels(item):
            found[labels(item)[REVISION]] = version((item.get("data") or {}).get("template") or {})
    for item in world.all("deployments", namespace):
        if labels(item).get(TRACK) == "canary" and REVISION in labels(item):
            found[labels(item)[REVISION]] = version(item["spec"]["template"])
    return found


def carried(ready: int, stable: int, wanted: int) -> int:
    """The most percent that so many ready pods carry of what `wanted` pods serve, or what is fair where both are too few."""
    if wanted <= 0 or ready <= 0:
        return 0
    fair = 100 * ready // (ready + stable) if ready + stable < wanted else 0
    # A pod more than the share needs, to the next whole one: 20 % of four pods are served by one.
    most = next((w for w in range(100, 0, -1) if max(1, math.ceil(wanted * w / 100)) <= ready), 0)
    return max(fair, most)


def rules(spec: Object) -> list[Any]:
    """Backends and weights of each rule, without what the API server fills in."""
    return [[(b["name"], b.get("weight", 1)) for b in rule.get("backendRefs") or []] for rule in spec.get("rules") or []]


def plain(data: Any) -> Any:
    return {k: json.loads(v) if k.endswith(".json") else v for k, v in (data or {}).items()}


def seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()


def told(event: Event, after: Object | None, linnet: str) -> str:
    """One write in a line, for whoever reads what led to a failure; empty where it says nothing."""
    silent = event.resource in ("events", "leases", "pods", "endpointslices", "analysisruns")
    if silent or (event.resource, event.subresource) in (("replicasets", "status"), ("httproutes", "status")):
        return ""
    what = ""
    if event.resource == "canaries" and after is not None:
        status = after.get("status") or {}
        rollout = status.get("rollout") or {}
        stage = rollout.get("promotion") or rollout.get("rollback") or ""
        waiting = (status.get("waiting") or {}).get("reason", "")
        what = f"{status.get('phase')} {rollout.get('revision', '')} {stage} {waiting} {notes(after).get('linnet.dev/action', '')[:24]}"
    elif event.resource == "httproutes":
        what = f"canary {share(after)}"
    elif event.resource in ("deployments", "replicasets") and after is not None:
        spec, ready = after["spec"], (after.get("status") or {}).get("availableReplicas", 0)
        what = f"{version(spec['template'])} {spec.get('replicas')}/{ready} {'paused' if spec.get('paused') else ''}"
    elif event.resource == "horizontalpodautoscalers" and after is not None:
        what = f"min {after['spec'].get('minReplicas')}"
    who = "linnet" if event.user == linnet else event.user.rpartition(":")[2]
    where = f"{event.resource}/{event.subresource}" if event.subresource else event.resource
    return f"{who} {event.verb} {where} {event.name} {what}".strip()
