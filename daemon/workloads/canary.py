"""The canary Deployment and its Service: objects of our own, created and never forced onto anybody's.

The template is the new one, immutable for the life of the object: a newer revision is a new object, after weight 0. The Service
has one name for good; its selector pins one revision.
"""

import copy
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from daemon.api import names
from daemon.kube import errors
from daemon.kube.client import Client
from daemon.kube.objects import Deployment, Service, ServicePort
from daemon.kube.patch import Operation, at_version, pointer, replace, test
from daemon.kube.resources import DEPLOYMENTS, SERVICES
from daemon.workloads.errors import NameTaken
from daemon.workloads.gate import tell_track
from daemon.workloads.gitops import unclaimed
from daemon.workloads.revisions import label_value

ISOLATED_SUFFIX: Final = "-canary"
_COPIED_SERVICE_FIELDS: Final = (
    "sessionAffinity",
    "sessionAffinityConfig",
    "trafficDistribution",
    "internalTrafficPolicy",
    "ipFamilies",
    "ipFamilyPolicy",
)


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Which pods labels tell canary from stable. `altered` is the label that keeps the user's Service away; None = shared labels."""

    altered: str | None


def pod_labels(template: Mapping[str, Any], canary: str, revision: str, identity: Identity) -> dict[str, str]:
    """Labels of canary pods: those of the template, one altered where isolated, and our own."""
    labels = dict((template.get("metadata") or {}).get("labels") or {})
    labels.pop("pod-template-hash", None)
    if identity.altered is not None:
        labels[identity.altered] = label_value(labels[identity.altered] + ISOLATED_SUFFIX)
    return labels | {names.TRACK: names.TRACK_CANARY, names.REVISION: revision, names.OWNER: label_value(canary)}


def selector(canary: str, revision: str) -> dict[str, str]:
    """What picks one revision's canary pods, and nothing else."""
    return {names.TRACK: names.TRACK_CANARY, names.REVISION: revision, names.OWNER: label_value(canary)}


def render(
    stable: Deployment, template: Mapping[str, Any], canary: str, revision: str, replicas: int, identity: Identity
) -> dict[str, Any]:
    """The canary Deployment. No metadata of the user's is copied: tracking ids would make a GitOps tool adopt or prune it."""
    pod = copy.deepcopy(dict(template))
    metadata = dict(pod.get("metadata") or {})
    metadata["labels"] = pod_labels(template, canary, revision, identity)
    pod["metadata"] = metadata
    spec = pod.setdefault("spec", {})
    tell_track(spec)
    body: dict[str, Any] = {
        "replicas": replicas,
        "selector": {"matchLabels": selector(canary, revision)},
        "minReadySeconds": stable.spec.min_ready_seconds,
        "revisionHistoryLimit": 1,
        "template": pod,
    }
    if stable.spec.progress_deadline_seconds is not None:
        body["progressDeadlineSeconds"] = stable.spec.progress_deadline_seconds
    return {
        "metadata": {
            "name": names.canary_workload(stable.name, revision),
            "namespace": stable.namespace,
            "labels": selector(canary, revision),
        },
        "spec": body,
    }


async def ensure(client: Client, current: Deployment | None, body: Mapping[str, Any], replicas: int) -> None:
    """The canary Deployment exists with `replicas`; its template is never touched."""
    metadata = body["metadata"]
    namespace, name = metadata["namespace"], metadata["name"]
    if current is None:
        try:
            await client.create(DEPLOYMENTS, namespace, body)
        except errors.AlreadyExists:
            current = await client.get(DEPLOYMENTS, namespace, name)
        else:
            return
    if not is_ours(current.metadata.labels, metadata["labels"][names.OWNER]):
        raise NameTaken(f"Deployment {namespace}/{name} exists and is not Linnet's; rename it")
    if (current.spec.replicas or 0) != replicas:
        await client.json_patch(DEPLOYMENTS, namespace, name, [replace(pointer("spec", "replicas"), replicas)])


def is_ours(labels: Mapping[str, str] | None, owner: str) -> bool:
    return (labels or {}).get(names.OWNER) == owner


async def delete(client: Client, item: Deployment) -> None:
    """Foreground by the native collector: its ReplicaSet is never orphaned into the user's Deployment (workload-traps A10)."""
    await client.delete(DEPLOYMENTS, item.namespace, item.name, uid=item.metadata.uid, propagation="Foreground")


def render_service(user: Mapping[str, Any], name: str, canary: str, revision: str | None) -> dict[str, Any]:
    """The canary Service, with what decides how the user's Service treats connections. Without a revision it selects nothing."""
    spec = user.get("spec") or {}
    ports = [{k: v for k, v in port.items() if k != "nodePort"} for port in spec.get("ports") or []]
    metadata = user.get("metadata") or {}
    body = {key: spec[key] for key in _COPIED_SERVICE_FIELDS if key in spec}
    return {
        "metadata": {
            "name": name,
            "namespace": metadata.get("namespace"),
            "labels": {names.OWNER: label_value(canary), names.TRACK: names.TRACK_CANARY},
            "annotations": unclaimed(metadata.get("annotations")),
        },
        "spec": {**body, "type": "ClusterIP", "ports": ports, "selector": selector(canary, revision or "none")},
    }


def same_ports(one: Service, other: Service) -> bool:
    """Whether both serve the same ports; a port of the node is each Service's own."""
    return _ports(one) == _ports(other)


def _ports(item: Service) -> list[ServicePort]:
    return [msgspec.structs.replace(p, node_port=None) for p in item.spec.ports or ()]


async def ensure_service(client: Client, user: Service, current: Service | None, body: Mapping[str, Any]) -> Service:
    """The canary Service exists, selects what `body` says, and has the ports of the user's; nothing else of it is changed."""
    namespace, name = body["metadata"]["namespace"], body["metadata"]["name"]
    wanted = body["spec"]["selector"]
    if current is None:
        try:
            return await client.create(SERVICES, namespace, body)
        except errors.AlreadyExists:
            current = await client.get(SERVICES, namespace, name)
    if not is_ours(current.metadata.labels, body["metadata"]["labels"][names.OWNER]):
        raise NameTaken(f"Service {namespace}/{name} exists and is not Linnet's; rename it")
    path = pointer("spec", "selector")
    operations: list[Operation] = []
    if current.spec.selector != wanted:
        operations += [test(path, current.spec.selector), replace(path, wanted)]
    if not same_ports(current, user):
        operations += [at_version(current.metadata.resource_version), replace(pointer("spec", "ports"), body["spec"]["ports"])]
    return await client.json_patch(SERVICES, namespace, name, operations) if operations else current
