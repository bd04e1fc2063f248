"""The profiles that the chart ships: how to release the four common sorts of workload, and how to watch first, for those who annotate and go.

What decides between them is how much evidence an hour brings, and whether requests pass a router at all.
"""

from typing import Any, Final

from daemon.api.canary import Analysis, Dwell, Outcome, Outcomes, Step, Strategy, Traffic
from daemon.api.fields import Duration
from daemon.api.kinds import CanaryProfile, CanaryProfileSpec, Metadata, encode
from daemon.api.sources import ALL

_EVERYONE: Final = [ALL]
_ADAPTIVE: Final = Strategy(type="Canary", ramp="Adaptive")
_STEPS: Final = Strategy(type="Canary", ramp="Steps")


def _ceilings(*weights: int) -> list[Step]:
    return [Step(weight=weight) for weight in weights]


def _ladder(weights: tuple[int, ...], dwell: Duration) -> list[Step]:
    return [Step(weight=weight, dwell=Dwell(min_duration=dwell)) for weight in weights]


def _profile(name: str, purpose: str, spec: CanaryProfileSpec) -> CanaryProfile:
    return CanaryProfile(metadata=Metadata(name=name, annotations={"linnet.dev/description": purpose}), spec=spec)


WEB: Final = _profile(
    "web",
    "Services behind a route with some requests a second: up to 5, 15, 50 percent by evidence, promoted after 15 minutes at the earliest.",
    CanaryProfileSpec(
        allowed_namespaces=_EVERYONE, strategy=_ADAPTIVE, steps=_ceilings(5, 15, 50), analysis=Analysis(bake="15m", deadline="1h")
    ),
)
LOW_TRAFFIC: Final = _profile(
    "low-traffic",
    "Services with less than a request a second: soon half of the traffic, and a long time to prove anything.",
    CanaryProfileSpec(
        allowed_namespaces=_EVERYONE,
        strategy=_ADAPTIVE,
        steps=_ceilings(25, 50),
        analysis=Analysis(
            bake="30m",
            deadline="6h",
            outcomes=Outcomes(
                inconclusive=Outcome(action="Wait", then_after="24h", then="Rollback"),
                no_data=Outcome(action="Wait", then_after="6h", then="Rollback"),
            ),
        ),
    ),
)
HIGH_TRAFFIC: Final = _profile(
    "high-traffic",
    "Services with hundreds of requests a second, or that must not fail: one percent first, promoted after 30 minutes at the earliest.",
    CanaryProfileSpec(
        allowed_namespaces=_EVERYONE, strategy=_ADAPTIVE, steps=_ceilings(1, 5, 15, 50), analysis=Analysis(bake="30m", deadline="2h")
    ),
)
WORKER: Final = _profile(
    "worker",
    "Workloads without a route: the share is that of pods. Give spec.analysis.metrics a ratio of your own counters.",
    CanaryProfileSpec(
        allowed_namespaces=_EVERYONE,
        strategy=_STEPS,
        traffic=Traffic(mode="PodRatio"),
        steps=_ladder((10, 25, 50), "5m"),
        analysis=Analysis(deadline="2h", outcomes=Outcomes(no_data=Outcome(action="Wait", then_after="24h", then="Rollback"))),
    ),
)

OBSERVE: Final = _profile(
    "observe",
    "Any Deployment, before Linnet is let near it: changes nothing, watches its rolling updates and says what it would have done.",
    CanaryProfileSpec(allowed_namespaces=_EVERYONE, mode="Observe"),
)

SHIPPED: Final = (WEB, LOW_TRAFFIC, HIGH_TRAFFIC, WORKER, OBSERVE)


def documents() -> list[dict[str, Any]]:
    """The shipped profiles as a user would write them."""
    return [encode(profile) for profile in SHIPPED]
