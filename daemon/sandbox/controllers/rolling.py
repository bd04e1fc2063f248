"""The arithmetic of a Deployment: how many pods each ReplicaSet may have, and which ReplicaSet is meant.

Pure, and deliberately the native controller's decisions down to its corner cases: Linnet's hold rests on what a paused Deployment
does when it is scaled, saturated or revived from zero, so a sandbox that was kinder than the real thing would teach us wrong.
"""

import json
import math
from collections.abc import Sequence

from daemon.sandbox.controllers.objects import (
    Object,
    annotations_of,
    created,
    fnv32a,
    name_of,
    normal,
    safe_encode,
    same_template,
    scaled,
    total,
)

REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED_REPLICAS = "deployment.kubernetes.io/desired-replicas"
MAX_REPLICAS = "deployment.kubernetes.io/max-replicas"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
NOT_COPIED = frozenset({LAST_APPLIED, REVISION, REVISION_HISTORY, DESIRED_REPLICAS, MAX_REPLICAS, "deprecated.deployment.rollback.to"})


def replicas_of(obj: Object) -> int:
    """`spec.replicas`; absent means one, as the defaulting of the API says."""
    value = obj["spec"].get("replicas")
    return 1 if value is None else int(value)


def is_rolling(deployment: Object) -> bool:
    return bool((deployment["spec"].get("strategy") or {}).get("type", "RollingUpdate") == "RollingUpdate")


def _fenceposts(deployment: Object) -> tuple[int, int]:
    rolling = (deployment["spec"].get("strategy") or {}).get("rollingUpdate") or {}
    desired = replicas_of(deployment)
    surge = scaled(rolling.get("maxSurge", "25%"), desired, round_up=True)
    unavailable = scaled(rolling.get("maxUnavailable", "25%"), desired, round_up=False)
    # Both rounding to nothing would never move; the native controller then gives up one pod.
    return surge, 1 if surge == 0 and unavailable == 0 else unavailable


def max_surge(deployment: Object) -> int:
    return _fenceposts(deployment)[0] if is_rolling(deployment) else 0


def max_unavailable(deployment: Object) -> int:
    if not is_rolling(deployment) or replicas_of(deployment) == 0:
        return 0
    return min(_fenceposts(deployment)[1], replicas_of(deployment))


def template_hash(template: Object, collisions: int | None) -> str:
    """The label that tells pods of one template from another's; stable, but not the native bits (those hash a Go dump)."""
    text = json.dumps(normal(template), sort_keys=True, separators=(",", ":"))
    return safe_encode(str(fnv32a(text.encode() + (b"" if collisions is None else str(collisions).encode()))))


def by_creation(replica_sets: Sequence[Object]) -> list[Object]:
    return sorted(replica_sets, key=lambda rs: (created(rs), name_of(rs)))


def active(replica_sets: Sequence[Object | None]) -> list[Object]:
    return [rs for rs in replica_sets if rs is not None and replicas_of(rs) > 0]


def find_new(deployment: Object, replica_sets: Sequence[Object]) -> Object | None:
    """The oldest ReplicaSet with the Deployment's template."""
    template = deployment["spec"]["template"]
    return next((rs for rs in by_creation(replica_sets) if same_template(rs["spec"]["template"], template)), None)


def find_active_or_latest(new: Object | None, old: Sequence[Object]) -> Object | None:
    """The one active ReplicaSet; none active: the new one, else the newest-created; several: None, they share."""
    living = active([*old, new])
    if len(living) == 1:
        return living[0]
    if living:
        return None
    if new is not None:
        return new
    return by_creation(old)[-1] if old else None


def revision_of(replica_set: Object) -> int:
    text = annotations_of(replica_set).get(REVISION, "")
    return int(text) if text.isdecimal() else 0


def annotated_number(replica_set: Object, key: str) -> int | None:
    text = annotations_of(replica_set).get(key, "")
    return int(text) if text.isdecimal() else None


def is_saturated(deployment: Object, new: Object | None) -> bool:
    """The new ReplicaSet alone holds all that is desired, and all of it is available."""
    if new is None:
        return False
    desired = replicas_of(deployment)
    available = int((new.get("status") or {}).get("availableReplicas") or 0)
    return replicas_of(new) == desired == annotated_number(new, DESIRED_REPLICAS) and available == desired


def new_replicas(deployment: Object, every: Sequence[Object | None], new: Object) -> int:
    """How far the new ReplicaSet may grow now: the surge caps the sum, the Deployment caps the set."""
    desired = replicas_of(deployment)
    if not is_rolling(deployment):
        return desired
    rolling = (deployment["spec"].get("strategy") or {}).get("rollingUpdate") or {}
    allowed = desired + scaled(rolling.get("maxSurge", "25%"), desired, round_up=True)
    current = sum(replicas_of(rs) for rs in every if rs is not None)
    if current >= allowed:
        return replicas_of(new)
    return replicas_of(new) + min(allowed - current, desired - replicas_of(new))


def _round_half_away(value: float) -> int:
    return math.floor(value + 0.5) if value >= 0 else math.ceil(value - 0.5)


def _fraction(deployment: Object, replica_set: Object) -> int:
    if replicas_of(deployment) == 0:
        return -replicas_of(replica_set)
    before = annotated_number(replica_set, MAX_REPLICAS) or int((deployment.get("status") or {}).get("replicas") or 0)
    if before == 0:
        return 0
    size = replicas_of(replica_set)
    return _round_half_away(size * (replicas_of(deployment) + max_surge(deployment)) / before) - size


def proportional_sizes(deployment: Object, every: Sequence[Object | None]) -> list[tuple[Object, int]]:
    """What each active ReplicaSet gets when a Deployment in mid-roll, or a paused one, is scaled.

    The largest comes first and takes what rounding left over; among equals the newer grows first and the older shrinks first.
    """
    living = by_creation(active(every))
    desired = replicas_of(deployment)
    to_add = (desired + max_surge(deployment) if desired > 0 else 0) - sum(replicas_of(rs) for rs in living)
    if to_add > 0:
        living.reverse()
    living.sort(key=replicas_of, reverse=True)
    sizes: list[int] = []
    added = 0
    for replica_set in living:
        share = 0
        if to_add not in (0, added):
            fraction, allowed = _fraction(deployment, replica_set), to_add - added
            share = min(fraction, allowed) if to_add > 0 else max(fraction, allowed)
        sizes.append(replicas_of(replica_set) + share)
        added += share
    if living and to_add != 0:
        sizes[0] = max(0, sizes[0] + to_add - added)
    return list(zip(living, sizes, strict=True))


def unhealthy_cleanup(old: Sequence[Object], limit: int) -> list[tuple[Object, int]]:
    """Old pods that are not available go first: taking them costs no availability."""
    sizes: list[tuple[Object, int]] = []
    for replica_set in by_creation(old):
        if limit <= 0:
            break
        size = replicas_of(replica_set)
        unavailable = size - int((replica_set.get("status") or {}).get("availableReplicas") or 0)
        if size == 0 or unavailable == 0:
            continue
        take = min(limit, unavailable)
        if take < 0:
            break
        sizes.append((replica_set, size - take))
        limit -= take
    return sizes


def old_scale_down(deployment: Object, every: Sequence[Object | None], old: Sequence[Object]) -> list[tuple[Object, int]]:
    """How far old ReplicaSets may shrink while enough pods stay available."""
    spare = total(every, "status", "availableReplicas") - (replicas_of(deployment) - max_unavailable(deployment))
    sizes: list[tuple[Object, int]] = []
    for replica_set in by_creation(old):
        if spare <= 0:
            break
        take = min(replicas_of(replica_set), spare)
        if take > 0:
            sizes.append((replica_set, replicas_of(replica_set) - take))
            spare -= take
    return sizes
