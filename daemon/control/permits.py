"""Leave from outside a Canary: whether template changes of this Deployment are held at all, whether its metric source answers, and
whether canary pods could have its volumes.

With `hold: Auto` a release without the hold would roll unjudged, so its absence is found by asking the API server (a dry run of a
template change) and said before the first release.
"""

import time
from collections.abc import Callable
from typing import Final

from daemon.api import names
from daemon.control.resolved import Resolved
from daemon.control.sources import SourceProbe
from daemon.control.volumes import VolumeProbe
from daemon.kube.client import Client
from daemon.kube.errors import KubeError
from daemon.rollout.model import Problem
from daemon.workloads.hold import holds

FRESH: Final = 600.0
MISSING: Final = 10.0  # a policy acts a moment after it was written: an absence is asked about again soon


class HoldProbe:
    """Remembers, for a namespace, whether a policy or the webhook holds there."""

    def __init__(
        self,
        client: Client,
        clock: Callable[[], float] = time.monotonic,
        *,
        sources: SourceProbe | None = None,
        volumes: VolumeProbe | None = None,
    ) -> None:
        self._client = client
        self._clock = clock
        self._sources = sources
        self._volumes = volumes
        self._waiting: set[str] = set()  # namespaces in which a source does not answer
        self._known: dict[str, tuple[float, bool]] = {}

    def again_in(self, namespace: str) -> float | None:
        """When to ask again where the hold was missing: nothing that is watched tells of its coming."""
        known = self._known.get(namespace)
        missing = known is not None and not known[1]
        return MISSING if missing or namespace in self._waiting else None

    async def problem(self, resolved: Resolved) -> Problem | None:
        """Asked of a Canary at rest: the first that stands in the way. Of one that only observes, nothing is tried: it is asked who counts."""
        if resolved.observed:
            return await self._source(resolved)
        volumes = await self._volumes.problem(resolved) if self._volumes is not None else None
        return volumes or await self._hold(resolved) or await self._source(resolved)

    async def _source(self, resolved: Resolved) -> Problem | None:
        if self._sources is None:
            return None
        asked = [await self._sources.problem(use.item) for use in resolved.sources]
        found = next((p for p in asked if p is not None), None)
        (self._waiting.add if found else self._waiting.discard)(resolved.canary.namespace)
        return found

    async def _hold(self, resolved: Resolved) -> Problem | None:
        """Asked only of a Deployment that carries our mark and is at rest; None where it is held, or held by `Always`."""
        deployment = resolved.deployment
        if deployment is None or resolved.spec.hold == "Always" or deployment.spec.paused:
            return None
        if deployment.metadata.annotation(names.HOLD) == "off":
            return None  # its owner's word, and nothing that this Deployment could tell of the others in its namespace
        known = self._known.get(deployment.namespace)
        if known is None or self._clock() - known[0] >= (FRESH if known[1] else MISSING):
            try:
                known = (self._clock(), await holds(self._client, deployment))
            except KubeError:
                return None
            self._known[deployment.namespace] = known
        if known[1]:
            return None
        return Problem(
            reason="HoldUnavailable",
            message="this API server does not hold template changes: Linnet's admission policy or webhook is missing, or does not answer",
            way_out="install the chart's rules of the hold (hold.policies, hold.webhook.enabled), or set spec.hold: Always",
            unhold=True,
        )
