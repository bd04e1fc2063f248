"""What a Deployment says about itself: counts, Available and Progressing, with the native reasons and messages.

Pure. `kubectl rollout status`, Helm and Argo CD read these words, and Linnet's own waiting reads them too.
"""

import copy
from collections.abc import Sequence
from typing import Any

from daemon.sandbox.controllers.objects import Object, condition_of, name_of, seconds_of, timestamp, total
from daemon.sandbox.controllers.rolling import max_unavailable, replicas_of

NO_DEADLINE = 2**31 - 1


def deadline_of(deployment: Object) -> int | None:
    """progressDeadlineSeconds, or None where nobody wants progress judged."""
    value = deployment["spec"].get("progressDeadlineSeconds")
    return None if value is None or value == NO_DEADLINE else int(value)


def new_condition(kind: str, status: str, reason: str, message: str, now: float) -> Object:
    moment = timestamp(now)
    return {
        "type": kind,
        "status": status,
        "lastUpdateTime": moment,
        "lastTransitionTime": moment,
        "reason": reason,
        "message": message,
    }


def set_condition(status: Object, condition: Object) -> bool:
    """Put the condition in place; the same status and reason again changes nothing, as in the native controller."""
    current = condition_of(status, condition["type"])
    if current is not None and (current["status"], current.get("reason")) == (condition["status"], condition["reason"]):
        return False
    if current is not None and current["status"] == condition["status"]:
        condition = condition | {"lastTransitionTime": current["lastTransitionTime"]}
    remove_condition(status, condition["type"])
    status.setdefault("conditions", []).append(condition)
    return True


def remove_condition(status: Object, kind: str) -> None:
    status["conditions"] = [c for c in status.get("conditions") or [] if c.get("type") != kind]


def calculate(deployment: Object, every: Sequence[Object | None], new: Object | None, now: float) -> Object:
    """The status that follows from the ReplicaSets; conditions other than Available are carried over."""
    available = total(every, "status", "availableReplicas")
    wanted = sum(replicas_of(rs) for rs in every if rs is not None)
    before = deployment.get("status") or {}
    status: Object = {"observedGeneration": deployment["metadata"].get("generation", 0)}
    counts = {
        "replicas": total(every, "status", "replicas"),
        "updatedReplicas": total([new], "status", "replicas"),
        "readyReplicas": total(every, "status", "readyReplicas"),
        "availableReplicas": available,
        "unavailableReplicas": max(0, wanted - available),
    }
    status |= {name: count for name, count in counts.items() if count}
    status["terminatingReplicas"] = total(every, "status", "terminatingReplicas")
    if before.get("collisionCount") is not None:
        status["collisionCount"] = before["collisionCount"]
    status["conditions"] = copy.deepcopy(before.get("conditions") or [])
    enough = available >= replicas_of(deployment) - max_unavailable(deployment)
    set_condition(
        status,
        new_condition("Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability.", now)
        if enough
        else new_condition("Available", "False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.", now),
    )
    return status


def complete(deployment: Object, status: Object) -> bool:
    """Every desired pod is updated and available, and no old pod is left."""
    desired = replicas_of(deployment)
    counts = [int(status.get(name) or 0) for name in ("updatedReplicas", "replicas", "availableReplicas")]
    return counts == [desired] * 3 and status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)


def _progressing(before: Object, after: Object) -> bool:
    def old(status: Object) -> int:
        return int(status.get("replicas") or 0) - int(status.get("updatedReplicas") or 0)

    grown = any(int(after.get(n) or 0) > int(before.get(n) or 0) for n in ("updatedReplicas", "readyReplicas", "availableReplicas"))
    return grown or old(after) < old(before)


def _timed_out(deployment: Object, status: Object, now: float) -> bool:
    condition, deadline = condition_of(status, "Progressing"), deadline_of(deployment)
    if condition is None or deadline is None or condition.get("reason") == "NewReplicaSetAvailable":
        return False
    return condition.get("reason") == "ProgressDeadlineExceeded" or seconds_of(condition["lastUpdateTime"]) + deadline < now


def rollout_status(deployment: Object, every: Sequence[Object | None], new: Object | None, now: float) -> Object:
    """The status of a Deployment that is rolling: what `calculate` says, and whether it gets anywhere."""
    status = calculate(deployment, every, new, now)
    if deadline_of(deployment) is None:
        remove_condition(status, "Progressing")
    else:
        _judge_progress(deployment, status, new, now)
    failure = _replica_failure(every, new)
    if failure is None:
        remove_condition(status, "ReplicaFailure")
    else:
        set_condition(status, failure)
    return status


def _judge_progress(deployment: Object, status: Object, new: Object | None, now: float) -> None:
    before: Object = deployment.get("status") or {}
    current = condition_of(before, "Progressing")
    settled = status.get("replicas", 0) == status.get("updatedReplicas", 0)
    if settled and current is not None and current.get("reason") == "NewReplicaSetAvailable":
        return
    subject = f'ReplicaSet "{name_of(new)}"' if new is not None else f'Deployment "{name_of(deployment)}"'
    if complete(deployment, status):
        message = f"{subject} has successfully progressed."
        set_condition(status, new_condition("Progressing", "True", "NewReplicaSetAvailable", message, now))
    elif _progressing(before, status):
        condition = new_condition("Progressing", "True", "ReplicaSetUpdated", f"{subject} is progressing.", now)
        if current is not None and current["status"] == "True":
            condition["lastTransitionTime"] = current["lastTransitionTime"]
        # Removed first, so that the update time moves with every sign of progress even where the reason stays.
        remove_condition(status, "Progressing")
        set_condition(status, condition)
    elif _timed_out(deployment, status, now):
        message = f"{subject} has timed out progressing."
        set_condition(status, new_condition("Progressing", "False", "ProgressDeadlineExceeded", message, now))


def _replica_failure(every: Sequence[Object | None], new: Object | None) -> Object | None:
    """The first ReplicaFailure, the new ReplicaSet's before any other's."""
    for replica_set in (new, *every):
        condition = condition_of((replica_set or {}).get("status") or {}, "ReplicaFailure")
        if condition is not None:
            return condition | {"lastUpdateTime": condition["lastTransitionTime"]}
    return None


def pause_condition(deployment: Object, now: float) -> Object | None:
    """The Progressing condition that pausing or resuming asks for, or None where nothing is to be said."""
    current: dict[str, Any] = condition_of(deployment.get("status") or {}, "Progressing") or {}
    if deadline_of(deployment) is None or current.get("reason") == "ProgressDeadlineExceeded":
        return None
    said, paused = current.get("reason") == "DeploymentPaused", bool(deployment["spec"].get("paused"))
    if paused and not said:
        return new_condition("Progressing", "Unknown", "DeploymentPaused", "Deployment is paused", now)
    if said and not paused:
        return new_condition("Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed", now)
    return None


def next_progress_check(deployment: Object, status: Object, now: float) -> float | None:
    """Seconds until the deadline must be looked at again, or None when there is none to miss."""
    condition, deadline = condition_of(status, "Progressing"), deadline_of(deployment)
    if condition is None or deadline is None or complete(deployment, status) or condition.get("reason") == "ProgressDeadlineExceeded":
        return None
    return max(1.0, seconds_of(condition["lastUpdateTime"]) + deadline - now + 1.0)
