"""Small questions asked of Kubernetes objects kept as plain dictionaries.

The controllers see the same JSON that a client sees, so that a field this sandbox does not know survives every write. What the
native controllers answer with typed helpers (who owns this, does this selector match, is this pod ready) is answered here once.
"""

import calendar
import copy
import math
import random
import time
from collections.abc import Iterable, Mapping
from typing import Any

from daemon.sandbox.selectors import from_object

Object = dict[str, Any]

# The alphabet of generated names and hashes: no vowels and no look-alikes, so that no name spells a word.
ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_FNV_OFFSET, _FNV_PRIME = 0x811C9DC5, 0x01000193
# Go cannot tell an empty map or an embedded struct from an absent one; in every other field {} is a value (`emptyDir: {}`).
_EMPTY_IS_ABSENT = frozenset({"labels", "annotations", "nodeSelector", "limits", "requests", "matchLabels", "resources", "metadata"})


def meta(obj: Mapping[str, Any]) -> Object:
    found: Object = obj["metadata"]
    return found


def name_of(obj: Mapping[str, Any]) -> str:
    return str(meta(obj)["name"])


def namespace_of(obj: Mapping[str, Any]) -> str:
    return str(meta(obj).get("namespace") or "")


def uid_of(obj: Mapping[str, Any]) -> str:
    return str(meta(obj).get("uid") or "")


def labels_of(obj: Mapping[str, Any]) -> dict[str, str]:
    return meta(obj).get("labels") or {}


def annotations_of(obj: Mapping[str, Any]) -> dict[str, str]:
    return meta(obj).get("annotations") or {}


def status_of(obj: Mapping[str, Any]) -> Object:
    return obj.get("status") or {}


def terminating(obj: Mapping[str, Any]) -> bool:
    return bool(meta(obj).get("deletionTimestamp"))


def created(obj: Mapping[str, Any]) -> str:
    """The creation time as written; RFC 3339 in UTC sorts as text."""
    return str(meta(obj).get("creationTimestamp") or "")


def timestamp(moment: float | None = None) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


def seconds_of(text: str) -> float:
    """Unix seconds of an RFC 3339 time in UTC; fractions are dropped, as metav1.Time does."""
    return float(calendar.timegm(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S")))


def random_suffix(length: int = 5) -> str:
    return "".join(random.choices(ALPHABET, k=length))


def controller_of(obj: Mapping[str, Any]) -> Object | None:
    """The owner reference with `controller: true`, of which there is at most one."""
    return next((ref for ref in meta(obj).get("ownerReferences") or () if ref.get("controller")), None)


def is_controlled_by(obj: Mapping[str, Any], owner: Mapping[str, Any]) -> bool:
    ref = controller_of(obj)
    return ref is not None and ref.get("uid") == uid_of(owner)


def controller_ref(owner: Mapping[str, Any], api_version: str, kind: str) -> Object:
    return {
        "apiVersion": api_version,
        "kind": kind,
        "name": name_of(owner),
        "uid": uid_of(owner),
        "controller": True,
        "blockOwnerDeletion": True,
    }


def condition_of(status: Mapping[str, Any], kind: str) -> Object | None:
    return next((c for c in status.get("conditions") or () if c.get("type") == kind), None)


def matches(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """Does a LabelSelector match; none at all matches nothing, an empty one everything."""
    return from_object(selector)(labels)


def selects_everything(selector: Mapping[str, Any] | None) -> bool:
    return not selector or not (selector.get("matchLabels") or selector.get("matchExpressions"))


def pod_ready(pod: Mapping[str, Any]) -> bool:
    condition = condition_of(status_of(pod), "Ready")
    return condition is not None and condition.get("status") == "True"


def ready_since(pod: Mapping[str, Any]) -> float | None:
    """When the pod became ready, or None while it is not."""
    condition = condition_of(status_of(pod), "Ready")
    if condition is None or condition.get("status") != "True" or not condition.get("lastTransitionTime"):
        return None
    return seconds_of(condition["lastTransitionTime"])


def pod_active(pod: Mapping[str, Any]) -> bool:
    return status_of(pod).get("phase") not in {"Succeeded", "Failed"} and not terminating(pod)


def restarts_of(pod: Mapping[str, Any]) -> int:
    return max((int(c.get("restartCount") or 0) for c in status_of(pod).get("containerStatuses") or ()), default=0)


def scaled(value: int | str | None, total: int, *, round_up: bool) -> int:
    """An IntOrString of `total`: a number stands for itself, a percentage is rounded the way the field asks."""
    if value is None:
        return 0
    if isinstance(value, int):
        return value
    exact = int(value.removesuffix("%")) * total / 100
    return math.ceil(exact) if round_up else math.floor(exact)


def normal(value: Any) -> Any:
    """The value without what Go would not tell from absent: two templates are equal when their normal forms are."""
    if isinstance(value, dict):
        kept = {k: normal(v) for k, v in value.items()}
        return {k: v for k, v in kept.items() if not _absent(k, v)}
    if isinstance(value, list):
        return [normal(item) for item in value]
    return value


def _absent(key: str, value: Any) -> bool:
    return value is None or value == [] or (value == {} and key in _EMPTY_IS_ABSENT)


def same_template(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Equal pod templates, the label with the hash aside."""
    return bool(normal(_without_hash(one)) == normal(_without_hash(other)))


def _without_hash(template: Mapping[str, Any]) -> Object:
    bare = copy.deepcopy(dict(template))
    labels = (bare.get("metadata") or {}).get("labels") or {}
    labels.pop("pod-template-hash", None)
    return bare


def fnv32a(data: bytes) -> int:
    value = _FNV_OFFSET
    for byte in data:
        value = ((value ^ byte) * _FNV_PRIME) & 0xFFFFFFFF
    return value


def safe_encode(text: str) -> str:
    """Each byte folded into the safe alphabet, as the native hash labels are."""
    return "".join(ALPHABET[byte % len(ALPHABET)] for byte in text.encode())


def total(objects: Iterable[Mapping[str, Any] | None], *path: str) -> int:
    """The sum of one number over objects, an absent object or field counting as zero."""
    amount = 0
    for obj in objects:
        value: Any = obj
        for key in path:
            value = (value or {}).get(key)
        amount += int(value or 0)
    return amount
