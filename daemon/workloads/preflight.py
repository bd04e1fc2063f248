"""What makes a release impossible as things are: found before anything is touched, each with the way out.

A selector decides who is whom in a cluster, so every selector near the workload is evaluated on the labels of stable pods and on
those the canary would have; a difference in protection rules the canary out (workload-traps A8, A9, A16).
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from daemon.api import names
from daemon.kube.objects import Deployment, HorizontalPodAutoscaler, NetworkPolicy, PersistentVolumeClaim, Service
from daemon.rollout.model import Problem
from daemon.workloads.canary import Identity, is_ours, pod_labels
from daemon.workloads.revisions import label_value

SHARED_MODES: Final = frozenset({"ReadWriteMany", "ReadOnlyMany"})


def identity(deployment: Deployment, service: Service | None, *, pod_ratio: bool) -> Identity | Problem:
    """Which label to alter so that only a route reaches the canary; shared labels where pods are the split."""
    if pod_ratio or service is None:
        return Identity(altered=None)
    selected = service.spec.selector or {}
    own = deployment.spec.selector.match_labels or {}
    both = [key for key in selected if key in own]
    if not both:
        return Problem(
            reason="NoIsolatingLabel",
            message=f"Service {service.name} and Deployment {deployment.name} select on no common label ({', '.join(selected)} / {', '.join(own)})",
            way_out="let the Service select on a label of the Deployment's own selector",
        )
    return Identity(altered=both[0])


def selectors(
    template: Mapping[str, Any],
    canary: str,
    who: Identity,
    policies: Iterable[NetworkPolicy],
) -> list[Problem]:
    """Policies that protect stable pods and would not protect canary pods, or the other way round."""
    stable = dict((template.get("metadata") or {}).get("labels") or {})
    altered = pod_labels(template, canary, "00000", who)
    found = []
    for policy in policies:
        selects = policy.spec.pod_selector
        if selects.matches(stable) != selects.matches(altered):
            found.append(
                Problem(
                    reason="IdentityUnsafe",
                    message=f"NetworkPolicy {policy.name} would treat canary pods otherwise than stable pods: it selects on label {who.altered}",
                    way_out="let the policy select on another label of the pods (such as app.kubernetes.io/part-of)",
                )
            )
    return found


def autoscaler(hpa: HorizontalPodAutoscaler | None, who: Identity) -> list[Problem]:
    """An autoscaler whose selector takes canary pods into its average asks for stable pods that nobody needs."""
    if hpa is None or who.altered is not None:
        return []
    return [
        Problem(
            reason="AutoscalerSeesCanary",
            message=f"HorizontalPodAutoscaler {hpa.name} would average over canary pods too, since they keep the labels it selects",
            way_out="use a route (traffic.mode: Routes), or remove the autoscaler for the time of releases",
        )
    ]


def name_lengths(deployment: str, service: str | None) -> list[Problem]:
    """Names of ours are made from theirs, and Service names and label values end at 63 characters."""
    found = []
    for kind, name, made in (
        ("Deployment", deployment, names.canary_workload(deployment, "0" * names.REVISION_LENGTH)),
        ("Service", service, names.canary_service(service) if service else ""),
    ):
        if name and len(made) > names.NAME_LIMIT:
            most = names.NAME_LIMIT - (len(made) - len(name))
            found.append(
                Problem(
                    reason="NameTooLong",
                    message=f"{kind} {name} has {len(name)} characters: {made} would have {len(made)} of at most {names.NAME_LIMIT}",
                    way_out=f"a name of at most {most} characters",
                )
            )
    return found


def taken(canary: str, service: Service | None) -> list[Problem]:
    """A Service of the canary's name that is somebody else's."""
    if service is None or is_ours(service.metadata.labels, label_value(canary)):
        return []
    return [Problem(reason="NameTaken", message=f"Service {service.name} exists and is not Linnet's", way_out="rename or delete it")]


def foreign_controller(deployment: Deployment) -> list[Problem]:
    """A Deployment that another progressive-delivery controller drives."""
    owner = deployment.metadata.controller()
    groups = ("flagger.app/", "argoproj.io/", "rollouts.kruise.io/")
    if owner is None or not owner.api_version.startswith(groups):
        return []
    return [
        Problem(
            reason="ForeignController",
            message=f"Deployment {deployment.name} is driven by {owner.kind} {owner.name} ({owner.api_version})",
            way_out=f"delete that {owner.kind} first; two controllers would fight over it",
        )
    ]


def pod_shape(template: Mapping[str, Any]) -> list[Problem]:
    """What two versions side by side cannot share on one node: its ports."""
    spec = template.get("spec") or {}
    found = []
    ports = [p["hostPort"] for c in spec.get("containers") or [] for p in c.get("ports") or [] if p.get("hostPort")]
    if ports or spec.get("hostNetwork"):
        what = f"host port {ports[0]}" if ports else "the host's network"
        found.append(
            Problem(
                reason="HostPort",
                message=f"the pods take {what}: canary and stable pods may not fit on one node",
                way_out="serve through a Service instead",
            )
        )
    return found


def claims(template: Mapping[str, Any]) -> tuple[str, ...]:
    """PersistentVolumeClaims that every pod of this template mounts: the same one for all, unlike an ephemeral volume's own.

    One that is mounted read-only counts too: what binds a volume to a node is its access mode.
    """
    found = (v.get("persistentVolumeClaim") for v in (template.get("spec") or {}).get("volumes") or [])
    return tuple(sorted({c["claimName"] for c in found if c}))


def volume(deployment: str, claim: PersistentVolumeClaim) -> Problem | None:
    """A volume that only one node, or one pod, may hold: canary pods would wait for it until the release is given up."""
    modes = claim.spec.access_modes or ()
    if not modes or set(modes) & SHARED_MODES:
        return None
    return Problem(
        reason="VolumeNotShared",
        message=f"the pods mount PersistentVolumeClaim {claim.name} ({', '.join(modes)}), which pods of two versions cannot share safely: "
        "canary pods on another node never start, and on the same node both versions write the same files",
        way_out=f"a claim that is ReadWriteMany, an ephemeral volume for each pod, or no Canary for Deployment {deployment}",
    )
