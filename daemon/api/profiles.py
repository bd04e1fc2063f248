"""The profiles that the chart ships: how to release the four common sorts of workload, for those who annotate and go.

What decides between them is how much evidence an hour brings, and whether requests pass a router at all.
"""

from typing import Any, Final

from daemon.api.canary import Analysis, Dwell, Outcome, Outcomes, Step, Strategy, Traffic
from daemon.api.fields import Duration
from daemon.api.kinds import CanaryProfile, CanaryProfileSpec, Metadata, encode
from daemon.api.sources import ALL

_EVERYONE: Final = [ALL]
_STEPS: Final = Strategy(type="Canary", ramp="Steps")


def _ladder(weights: tuple[int, ...], dwell: Duration) -> list[Step]:
    return [Step(weight=weight, dwell=Dwell(min_duration=dwell)) for weight in weights]


def _profile(name: str, purpose: str, spec: CanaryProfileSpec) -> CanaryProfile:
    return CanaryProfile(metadata=Metadata(name=name, annotations={"linnet.dev/description": purpose}), spec=spec)


WEB: Final = _profile(
    "web",
    "Services behind a route with some requests a second: 5, 25, 50 percent, two minutes each at least.",
    CanaryProfileSpec(allowed_namespaces=_EVERYONE, strategy=_STEPS, steps=_ladder((5, 25, 50), "2m"), analysis=Analysis(deadline="1h")),
)
LOW_TRAFFIC: Final = _profile(
    "low-traffic",
    "Services with less than a request a second: large steps and a long time to prove anything.",
    CanaryProfileSpec(
        allowed_namespaces=_EVERYONE,
        strategy=_STEPS,
        steps=_ladder((25, 50), "10m"),
        analysis=Analysis(
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
    "Services with hundreds of requests a second: a small first step, five minutes each.",
    CanaryProfileSpec(
        allowed_namespaces=_EVERYONE, strategy=_STEPS, steps=_ladder((1, 5, 25, 50, 100), "5m"), analysis=Analysis(deadline="1h")
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

SHIPPED: Final = (WEB, LOW_TRAFFIC, HIGH_TRAFFIC, WORKER)


def documents() -> list[dict[str, Any]]:
    """The shipped profiles as a user would write them."""
    return [encode(profile) for profile in SHIPPED]
