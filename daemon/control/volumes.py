"""Whether the volumes of a workload can be mounted by two versions at once, asked before a release.

PersistentVolumeClaims are not watched: a claim's access modes never change, so each is read once by those few Deployments that
mount one.
"""

import time
from collections.abc import Callable
from typing import Final

from daemon.control.resolved import Resolved
from daemon.kube.client import Client
from daemon.kube.errors import KubeError
from daemon.kube.resources import PERSISTENT_VOLUME_CLAIMS
from daemon.rollout.model import Problem
from daemon.workloads import preflight
from daemon.workloads.revisions import Templates

ABSENT: Final = 60.0  # seconds after which a claim that could not be read is asked for again
LIMIT: Final = 4096


class VolumeProbe:
    """Remembers what a claim allows, by namespace and name."""

    def __init__(self, client: Client, templates: Templates, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._templates = templates
        self._clock = clock
        self._known: dict[tuple[str, str], tuple[float | None, Problem | None]] = {}

    async def problem(self, resolved: Resolved) -> Problem | None:
        """The first volume that canary pods could not have; None also for a claim that is not there, or may not be read."""
        deployment = resolved.deployment
        if deployment is None:
            return None
        for name in preflight.claims(self._templates.decode(deployment.spec.template)):
            found = await self._ask(deployment.namespace, deployment.name, name)
            if found is not None:
                return found
        return None

    async def _ask(self, namespace: str, deployment: str, name: str) -> Problem | None:
        until, known = self._known.get((namespace, name), (0.0, None))
        if until is None or self._clock() < until:
            return known
        if len(self._known) >= LIMIT:
            self._known.clear()
        try:
            claim = await self._client.find(PERSISTENT_VOLUME_CLAIMS, namespace, name)
        except KubeError:
            claim = None
        again = self._clock() + ABSENT if claim is None else None
        found = preflight.volume(deployment, claim) if claim is not None else None
        self._known[namespace, name] = (again, found)
        return found
