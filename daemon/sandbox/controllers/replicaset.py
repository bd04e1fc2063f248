"""The ReplicaSet controller: as many pods as asked for, the least valuable ones deleted first.

Which pod goes when a set shrinks is what users see in a roll (unready before ready, young before old), so the order is the native one.
"""

import copy
import math
import time
from collections.abc import Iterable, Sequence
from typing import Any

from daemon.sandbox.controllers.access import PODS, REPLICASETS, Access
from daemon.sandbox.controllers.objects import (
    Object,
    annotations_of,
    condition_of,
    controller_of,
    controller_ref,
    created,
    is_controlled_by,
    labels_of,
    matches,
    meta,
    name_of,
    namespace_of,
    pod_active,
    pod_ready,
    random_suffix,
    ready_since,
    restarts_of,
    seconds_of,
    status_of,
    terminating,
    timestamp,
    uid_of,
)
from daemon.sandbox.controllers.rolling import replicas_of
from daemon.sandbox.controllers.runtime import Key
from daemon.sandbox.errors import ApiError

BURST = 500
_PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}


class ReplicaSetController:
    name = "replicaset-controller"

    def __init__(self, access: Access) -> None:
        self._api = access

    def start(self) -> Iterable[Key]:
        return [(namespace_of(rs), name_of(rs)) for rs in self._api.list(REPLICASETS)]

    def keys(self, event: str, resource: str, obj: Object) -> Iterable[Key]:
        if resource == REPLICASETS:
            yield namespace_of(obj), name_of(obj)
        elif resource == PODS:
            owner = controller_of(obj)
            if owner is not None:
                if owner["kind"] == "ReplicaSet":
                    yield namespace_of(obj), owner["name"]
                return
            for replica_set in self._api.list(REPLICASETS, namespace_of(obj)):
                if matches(replica_set["spec"].get("selector"), labels_of(obj)):
                    yield namespace_of(obj), name_of(replica_set)

    def sync(self, key: Key) -> float | None:
        replica_set = self._api.get(REPLICASETS, *key)
        if replica_set is None:
            return None
        pods = self._claim(replica_set)
        failure: ApiError | None = None
        if not terminating(replica_set):
            failure = self._manage(replica_set, [p for p in pods if pod_active(p)])
            pods = self._claim(replica_set)
        status = calculate(replica_set, pods, failure, time.time())
        if status != status_of(replica_set):
            self._api.update(REPLICASETS, copy.deepcopy(replica_set) | {"status": status}, subresource="status")
        if failure is not None:
            raise failure
        return _next_availability(replica_set, pods)

    def _claim(self, replica_set: Object) -> list[Object]:
        """Ours by owner; a matching orphan is adopted, an owned pod that no longer matches is released."""
        ours = []
        for pod in self._api.list(PODS, namespace_of(replica_set)):
            owner, matching = controller_of(pod), matches(replica_set["spec"].get("selector"), labels_of(pod))
            if is_controlled_by(pod, replica_set) and (matching or not pod_active(pod)):
                ours.append(pod)
            elif is_controlled_by(pod, replica_set) and not terminating(replica_set):
                self._own(pod, replica_set, adopt=False)
            elif owner is None and matching and pod_active(pod) and not terminating(replica_set):
                ours.append(self._own(pod, replica_set, adopt=True))
        return ours

    def _own(self, pod: Object, replica_set: Object, *, adopt: bool) -> Object:
        refs = [r for r in meta(pod).get("ownerReferences") or [] if r["uid"] != uid_of(replica_set)]
        if adopt:
            refs.append(controller_ref(replica_set, "apps/v1", "ReplicaSet"))
        meta(pod)["ownerReferences"] = refs
        return self._api.update(PODS, pod)

    def _manage(self, replica_set: Object, pods: Sequence[Object]) -> ApiError | None:
        diff = len(pods) - replicas_of(replica_set)
        try:
            if diff < 0:
                for _ in range(min(-diff, BURST)):
                    self._create(replica_set)
            elif diff > 0:
                for pod in deletion_order(pods, time.time())[: min(diff, BURST)]:
                    self._api.delete(PODS, pod)
                    self._api.event(replica_set, "Normal", "SuccessfulDelete", f"Deleted pod: {name_of(pod)}")
        except ApiError as error:
            return None if _namespace_terminating(error) else error
        return None

    def _create(self, replica_set: Object) -> None:
        template = copy.deepcopy(replica_set["spec"]["template"])
        metadata = template.get("metadata") or {}
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {k: v for k, v in metadata.items() if k in {"labels", "annotations", "finalizers"} and v}
            | {
                "generateName": f"{name_of(replica_set)}-",
                "name": f"{name_of(replica_set)[:57]}-{random_suffix()}",
                "namespace": namespace_of(replica_set),
                "ownerReferences": [controller_ref(replica_set, "apps/v1", "ReplicaSet")],
            },
            "spec": template.get("spec") or {},
        }
        try:
            stored = self._api.create(PODS, pod)
        except ApiError as error:
            if not _namespace_terminating(error):
                self._api.event(replica_set, "Warning", "FailedCreate", f"Error creating: {error.message}")
            raise
        self._api.event(replica_set, "Normal", "SuccessfulCreate", f"Created pod: {name_of(stored)}")


def _namespace_terminating(error: ApiError) -> bool:
    causes = (error.details or {}).get("causes") or ()
    return any(c.get("reason") == "NamespaceTerminating" for c in causes) or "being terminated" in error.message


def deletion_order(pods: Sequence[Object], now: float) -> list[Object]:
    """Pods, the first to be deleted first."""
    return sorted(pods, key=lambda pod: _worth(pod, now))


def _worth(pod: Object, now: float) -> tuple[Any, ...]:
    """Small is deleted first. Ages count by their magnitude only, as the native controller compares logarithms."""
    since = ready_since(pod)
    cost = annotations_of(pod).get("controller.kubernetes.io/pod-deletion-cost", "0")
    return (
        bool(pod["spec"].get("nodeName")),
        _PHASES.get(status_of(pod).get("phase", ""), 0),
        pod_ready(pod),
        int(cost) if cost.lstrip("-").isdecimal() else 0,
        _magnitude(now - since) if since is not None else 0,
        -restarts_of(pod),
        _magnitude(now - seconds_of(created(pod))) if created(pod) else -1,
        uid_of(pod),
    )


def _magnitude(age: float) -> int:
    return math.floor(math.log2(age)) if age >= 1 else 0


def available(pod: Object, min_ready_seconds: int, now: float) -> bool:
    since = ready_since(pod)
    return since is not None and (min_ready_seconds == 0 or since + min_ready_seconds <= now)


def calculate(replica_set: Object, pods: Sequence[Object], failure: ApiError | None, now: float) -> Object:
    """The status that follows from the pods; zero counts other than `replicas` are left out, as in the API."""
    living = [p for p in pods if pod_active(p)]
    template_labels = (replica_set["spec"]["template"].get("metadata") or {}).get("labels") or {}
    seconds = int(replica_set["spec"].get("minReadySeconds") or 0)
    counts = {
        "fullyLabeledReplicas": sum(template_labels.items() <= labels_of(p).items() for p in living),
        "readyReplicas": sum(map(pod_ready, living)),
        "availableReplicas": sum(available(p, seconds, now) for p in living),
    }
    status: Object = {"replicas": len(living), **{k: v for k, v in counts.items() if v}}
    status["terminatingReplicas"] = sum(terminating(p) for p in pods)
    status["observedGeneration"] = meta(replica_set).get("generation", 0)
    conditions = _failure_conditions(replica_set, len(living), failure, now)
    if conditions:
        status["conditions"] = conditions
    return status


def _failure_conditions(replica_set: Object, living: int, failure: ApiError | None, now: float) -> list[Object]:
    before = status_of(replica_set)
    others = [c for c in before.get("conditions") or [] if c.get("type") != "ReplicaFailure"]
    if failure is None:
        return others
    kept = condition_of(before, "ReplicaFailure")
    condition = kept or {
        "type": "ReplicaFailure",
        "status": "True",
        "lastTransitionTime": timestamp(now),
        "reason": "FailedCreate" if living < replicas_of(replica_set) else "FailedDelete",
        "message": failure.message,
    }
    return [*others, condition]


def _next_availability(replica_set: Object, pods: Sequence[Object]) -> float | None:
    """Seconds until the next ready pod has been ready for minReadySeconds."""
    seconds, now = int(replica_set["spec"].get("minReadySeconds") or 0), time.time()
    waits = [since + seconds - now for pod in pods if pod_active(pod) and (since := ready_since(pod)) is not None]
    return min((max(wait, 0.05) for wait in waits if wait > 0), default=None)
