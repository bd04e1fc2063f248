"""Looks at one live canary pod before the first step of a release with gated flags: does it get its track?

What was created is not always what runs (admission webhooks rewrite pods), so the pod itself is read, once a release; the caches do
not keep the environment of every pod in the cluster for that.
"""

from typing import Any, Final

from daemon.api import names
from daemon.control.caches import Caches
from daemon.control.resolved import Resolved, gated
from daemon.kube.client import Client
from daemon.kube.errors import KubeError
from daemon.kube.objects import Pod, RawObject, untyped
from daemon.kube.resources import PODS
from daemon.workloads import gate
from daemon.workloads.revisions import Templates

DEADLINE: Final = 5.0
LIMIT: Final = 1024


class GateProbe:
    """Remembers by uid the pods that were looked at: their environment never changes."""

    def __init__(self, client: Client, caches: Caches, templates: Templates) -> None:
        self._client = client
        self._caches = caches
        self._templates = templates
        self._known: dict[str, str] = {}

    async def fault(self, resolved: Resolved) -> str:
        """Why the flags' gate would not open for the canary; empty where it will, or where there is nothing to look at yet."""
        rollout = resolved.canary.status.rollout
        if rollout is None or resolved.canary.status.phase != "Starting" or not gated(resolved.spec):
            return ""
        for item in self._caches.canary_deployments(resolved.canary.namespace, resolved.canary.name):
            if item.metadata.label(names.REVISION) != rollout.revision:
                continue
            pods = [p for p in self._caches.pods_of(item) if p.metadata.deletion_timestamp is None and p.ready]
            if pods:
                oldest = min(pods, key=lambda p: (p.metadata.creation_timestamp or "", p.name))
                return await self._look(oldest, gate.containers_of(self._templates.decode(item.spec.template)))
        return ""

    async def _look(self, pod: Pod, containers: tuple[str, ...]) -> str:
        known = self._known.get(pod.metadata.uid)
        if known is not None:
            return known
        try:
            # Reading one pod by a list: the daemon has the right to list pods anyway, and to nothing more.
            page = await self._client.page(PODS.with_model(RawObject), pod.namespace, field_selector=f"metadata.name={pod.name}", limit=1)
        except KubeError as e:
            return f"pod {pod.name} cannot be read: {e.message}"
        found: dict[str, Any] | None = next((_plain(p) for p in page.items if p.metadata.uid == pod.metadata.uid), None)
        if found is None:
            return f"pod {pod.name} is gone"
        if len(self._known) >= LIMIT:
            self._known.clear()
        self._known[pod.metadata.uid] = gate.unwired(found, containers)
        return self._known[pod.metadata.uid]


def _plain(pod: RawObject) -> dict[str, Any]:
    return {"metadata": {"name": pod.name, "labels": pod.metadata.labels}, "spec": untyped(pod.spec)}
