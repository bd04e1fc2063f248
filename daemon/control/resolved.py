"""What a Canary means: its merged spec and the objects that it speaks of, as the caches have them now. Made by `resolve` alone."""

from typing import Any, Final

import msgspec

from daemon.api import names
from daemon.api.canary import CanarySpec, Metric
from daemon.api.defaults import is_restarts
from daemon.control import objects as ours
from daemon.control.checks import CheckUse
from daemon.kube.objects import Deployment, Service
from daemon.kube.resources import HORIZONTAL_POD_AUTOSCALERS
from daemon.rollout.model import Problem
from daemon.traffic.router import Scope
from daemon.workloads.canary import Identity

FLOOR: Final = HORIZONTAL_POD_AUTOSCALERS.kind  # of the undo log: every other entry is of a route


class FlagUse(msgspec.Struct, frozen=True, kw_only=True):
    """One flag of the spec and the source that moves it."""

    name: str
    key: str
    source: ours.FlagSource


class SourceUse(msgspec.Struct, frozen=True, kw_only=True):
    """A MetricSource and the metrics of the release that are asked of it."""

    item: ours.MetricSource
    metrics: tuple[Metric, ...] = ()


class Resolved(msgspec.Struct, frozen=True, kw_only=True):
    """What a Canary means, as the caches have it now."""

    canary: ours.Canary
    spec: CanarySpec
    deployment: Deployment | None
    service: Service | None = None
    scopes: tuple[Scope, ...] = ()
    identity: Identity = Identity(altered=None)
    pod_ratio: bool = False
    flags: tuple[FlagUse, ...] = ()
    sources: tuple[SourceUse, ...] = ()
    checks: tuple[CheckUse, ...] = ()
    flag_plan: dict[str, Any] | None = None
    problems: tuple[Problem, ...] = ()

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What is compared and asked of a source, in the order of the spec."""
        return tuple(m for m in self._all_metrics if not is_restarts(m))

    @property
    def restarts(self) -> Metric | None:
        """What the pods' own status is watched for; no server is asked."""
        return next((m for m in self._all_metrics if is_restarts(m)), None)

    @property
    def _all_metrics(self) -> list[Metric]:
        return (self.spec.analysis.metrics if self.spec.analysis else None) or []

    @property
    def observed(self) -> bool:
        """Whether nothing is written for it: it is watched only."""
        return self.spec.mode == "Observe"

    @property
    def canary_service(self) -> str | None:
        return names.canary_service(self.service.name) if self.service is not None and not self.pod_ratio else None


def gated(spec: CanarySpec) -> bool:
    """Whether any flag is shown to the canary's requests alone."""
    return any((f.mode or "Gated") == "Gated" for f in spec.flags or [])
