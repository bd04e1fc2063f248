"""What `mode: Observe` means to the shell: whom it applies to, and which sources can tell versions that nobody but the Deployment made."""

from collections.abc import Iterable, Iterator

import msgspec

from daemon.api.canary import CanarySpec
from daemon.control import objects as ours
from daemon.rollout.model import Problem


def allowed(spec: CanarySpec, problems: list[Problem], *, observe_only: bool) -> CanarySpec:
    """The spec under a daemon that may only observe; one that wants more is told, and nothing is tried in vain."""
    if not observe_only or spec.mode == "Observe":
        return spec
    way_out = "to enforce, helm upgrade with rbac.observeOnly=false"
    if spec.flags_only:
        message = "flags alone are moved, never observed, and this Linnet was installed to observe only"
        problems.append(Problem(reason="ObserveOnly", message=message, way_out=way_out))
    elif spec.mode == "Enforce":
        message = "spec.mode is Enforce, and this Linnet was installed to observe only"
        problems.append(Problem(reason="ObserveOnly", message=message, way_out=f"leave spec.mode out or write Observe; {way_out}"))
    return msgspec.structs.replace(spec, mode="Observe")


def unsuited(sources: Iterable[ours.MetricSource]) -> Iterator[Problem]:
    """Sources that know a version by the word that Linnet gives canary pods."""
    for item in sources:
        if item.spec.type == "Web":
            yield Problem(
                reason="SourceUnsuited",
                message=f"MetricSource {item.name} tells versions by the word that Linnet gives canary pods, and observed pods have none",
                way_out="name a MetricSource of type Prometheus or Scrape in the metrics' sourceRef",
            )
