"""A GitOps tool is recognised by its marks or its writes, and finds none of its marks on an object of ours."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from daemon.kube.objects import Deployment, ObjectMeta
from daemon.workloads.canary import Identity, render, render_service
from daemon.workloads.gitops import CLAIMS, manager_of, unclaimed

LABELS = {
    "app": "shop",
    "app.kubernetes.io/instance": "shop-prod",
    "app.kubernetes.io/managed-by": "Helm",
    "argocd.argoproj.io/instance": "shop-prod",
    "kustomize.toolkit.fluxcd.io/name": "apps",
    "kapp.k14s.io/app": "1",
    "objectset.rio.cattle.io/hash": "1",
}
ANNOTATIONS = {
    "argocd.argoproj.io/tracking-id": "shop-prod:apps/Deployment:shop/shop",
    "meta.helm.sh/release-name": "shop",
    "kubectl.kubernetes.io/last-applied-configuration": "{}",
    "objectset.rio.cattle.io/id": "fleet",
    "config.k8s.io/owning-inventory": "1",
    "external-dns.alpha.kubernetes.io/hostname": "shop.example.com",
    "team": "payments",
}


def deployment(*managers: str, labels: dict[str, str] | None = None, annotations: dict[str, str] | None = None) -> Deployment:
    owners = msgspec.Raw(json.dumps([{"manager": m, "operation": "Apply"} for m in managers]).encode())
    return Deployment(metadata=ObjectMeta(name="shop", namespace="shop", labels=labels, annotations=annotations, managed_fields=owners))


def claimed(body: dict[str, Any]) -> list[str]:
    marks = {**body["metadata"].get("labels", {}), **body["metadata"].get("annotations", {})}
    return [key for key in marks if key.startswith(CLAIMS)]


@pytest.mark.parametrize(
    ("found", "tool"),
    [
        (deployment(annotations={"argocd.argoproj.io/tracking-id": "x"}), "Argo CD"),
        (deployment(labels={"argocd.argoproj.io/instance": "x"}), "Argo CD"),
        (deployment("kube-controller-manager", "argocd-controller", labels={"app.kubernetes.io/instance": "x"}), "Argo CD"),
        (deployment("argocd-application-controller"), "Argo CD"),
        (deployment(labels={"kustomize.toolkit.fluxcd.io/name": "apps"}), "Flux"),
        (deployment("kustomize-controller"), "Flux"),
        (deployment("helm-controller"), "Flux"),
        (deployment("helm", labels={"app.kubernetes.io/instance": "x", "app.kubernetes.io/managed-by": "Helm"}), ""),
        (deployment("kubectl"), ""),
        (Deployment(), ""),
    ],
    ids=[
        "tracking-id",
        "label",
        "argo's writes",
        "argo's older writes",
        "flux",
        "flux writes",
        "flux helm",
        "plain helm",
        "kubectl",
        "nobody",
    ],
)
def test_a_tool_is_told_by_its_marks_or_its_writes(found: Deployment, tool: str) -> None:
    """The common instance label alone says nothing: Helm charts set it on everything."""
    assert manager_of(found) == tool


def test_the_canary_deployment_carries_nobodys_mark() -> None:
    """Tracked by label and by annotation, the workload's marks stay on the workload; its pods keep the labels they are selected by."""
    stable = deployment(labels=LABELS, annotations=ANNOTATIONS)
    template = {
        "metadata": {"labels": {"app": "shop", "app.kubernetes.io/instance": "shop-prod"}},
        "spec": {"containers": [{"name": "shop"}]},
    }
    body = render(stable, template, "shop", "7f9c2", 1, Identity(altered="app"))
    assert claimed(body) == []
    assert body["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/instance"] == "shop-prod"


def test_the_canary_service_carries_nobodys_mark() -> None:
    """What says how the Service is used is copied; what says whose it is, or which name in the world it has, is not."""
    user = {
        "metadata": {"name": "shop", "namespace": "shop", "labels": LABELS, "annotations": ANNOTATIONS},
        "spec": {"ports": [{"port": 80}]},
    }
    body = render_service(user, "shop-canary", "shop", None)
    assert claimed(body) == []
    assert body["metadata"]["annotations"] == {"team": "payments"}
    assert unclaimed(None) == {}
