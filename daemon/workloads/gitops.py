"""GitOps tools near a workload: how one is recognised, and which marks of theirs must never be on an object of ours.

A tool decides by such a mark that an object is its own, and prunes what it finds marked and not in Git: a canary that carries a
copied mark would be deleted while it serves (workload-traps A18).
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from daemon.kube.objects import Deployment, untyped

ARGO: Final = "Argo CD"
FLUX: Final = "Flux"

MARKS: Final[Mapping[str, str]] = {
    "argocd.argoproj.io/tracking-id": ARGO,
    "argocd.argoproj.io/instance": ARGO,
    "kustomize.toolkit.fluxcd.io/name": FLUX,
    "helm.toolkit.fluxcd.io/name": FLUX,
}
# Where a tool tracks by the common label `app.kubernetes.io/instance`, which Helm charts set too, only its writes tell it apart.
MANAGERS: Final[Mapping[str, str]] = {"argocd": ARGO, "kustomize-controller": FLUX, "helm-controller": FLUX}

# Prefixes of labels and annotations by which somebody takes an object, or a name in the world, for theirs.
CLAIMS: Final = (
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "argocd.argoproj.io/",
    "config.k8s.io/",
    "config.kubernetes.io/",
    "configmanagement.gke.io/",
    "external-dns.alpha.kubernetes.io/",
    "fleet.cattle.io/",
    "helm.sh/",
    "helm.toolkit.fluxcd.io/",
    "kapp.k14s.io/",
    "kubectl.kubernetes.io/",
    "kustomize.toolkit.fluxcd.io/",
    "meta.helm.sh/",
    "objectset.rio.cattle.io/",
    "pulumi.com/",
)


def manager_of(item: Deployment) -> str:
    """The GitOps tool that keeps this Deployment; empty where none is seen."""
    marks = {**(item.metadata.labels or {}), **(item.metadata.annotations or {})}
    marked = next((tool for mark, tool in MARKS.items() if mark in marks), "")
    return marked or next((tool for name in _managers(item.metadata.managed_fields) for tool in [_tool(name)] if tool), "")


def _managers(recorded: msgspec.Raw) -> list[str]:
    entries: Any = untyped(recorded) or []
    return [str(e.get("manager") or "") for e in entries]


def _tool(manager: str) -> str:
    return next((tool for prefix, tool in MANAGERS.items() if manager.startswith(prefix)), "")


def unclaimed(marks: Mapping[str, str] | None) -> dict[str, str]:
    """Labels or annotations that may be copied onto an object of ours."""
    return {key: value for key, value in (marks or {}).items() if not key.startswith(CLAIMS)}
