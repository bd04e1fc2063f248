"""When two pod templates are the same release.

Restart stamps, reloader stamps and the tracks of our own do not make a new version; everything else does. Templates are
compared as the API server stored them, defaults filled, never by a hash that a newer Linnet might compute differently.
"""

from collections.abc import Mapping
from typing import Any, Final

IGNORED_ANNOTATIONS: Final = frozenset(
    {
        "kubectl.kubernetes.io/restartedAt",
        "linnet.dev/restarted-at",
        "reloader.stakater.com/last-reloaded-from",
        "cattle.io/timestamp",
        "workload.cattle.io/state",
    }
)
IGNORED_PREFIXES: Final = ("checksum.reloader.linnet.dev/",)
IGNORED_LABELS: Final = frozenset({"pod-template-hash", "linnet.dev/track", "linnet.dev/revision"})


def normal(template: Mapping[str, Any]) -> dict[str, Any]:
    """`template` without what does not make a new version."""
    metadata = template.get("metadata") or {}
    annotations = {
        k: v for k, v in (metadata.get("annotations") or {}).items() if k not in IGNORED_ANNOTATIONS and not k.startswith(IGNORED_PREFIXES)
    }
    labels = {k: v for k, v in (metadata.get("labels") or {}).items() if k not in IGNORED_LABELS}
    return {"annotations": annotations, "labels": labels, "spec": template.get("spec") or {}}


def same_template(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether both are the same release, ignored paths aside."""
    return normal(one) == normal(other)


def images(template: Mapping[str, Any]) -> tuple[str, ...]:
    """The images of all containers, sorted: what a failure is remembered by when the template changes around them."""
    spec = template.get("spec") or {}
    containers = [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
    return tuple(sorted({c.get("image", "") for c in containers}))
