"""What a blue-green release must be like: one switch, and something that judges before or after it.

Once all requests are on one version nothing can be compared any more, so a proof needs a stop on the way, or templates.
"""

from daemon.api.canary import ReleaseSpec, Step
from daemon.api.errors import Errors, fault


def is_blue_green(spec: ReleaseSpec) -> bool:
    return spec.strategy is not None and spec.strategy.type == "BlueGreen"


def stops(steps: list[Step]) -> list[Step]:
    """Exposures of a part of the requests."""
    return [s for s in steps if s.weight is not None and 0 < s.weight < 100]


def faults(spec: ReleaseSpec, path: str) -> Errors:
    """Everything that makes it no blue-green release."""
    if not is_blue_green(spec):
        return
    if len(stops(spec.steps or [])) > 1:
        text = "blue-green switches all requests at once: keep at most one weight below 100, to compare at, or use type Canary"
        yield fault(f"{path}.steps", "BlueGreen", text)
    if spec.strategy is not None and spec.strategy.ramp == "Adaptive":
        text = "Adaptive: blue-green switches all requests at once, so there is nothing to climb; use ramp: Steps"
        yield fault(f"{path}.strategy.ramp", "Adaptive", text)
    templates_only = spec.analysis is not None and spec.analysis.judge == "TemplatesOnly"
    if spec.steps and not stops(spec.steps) and not templates_only:
        text = "once all requests are on one version nothing can be compared: add a step with weight 50 before the switch, or judge: TemplatesOnly"
        yield fault(f"{path}.steps", "BlueGreen", text)
    if spec.traffic is not None and spec.traffic.mode in ("PodRatio", "None"):
        text = f"{spec.traffic.mode}: blue-green needs a route to switch; by share of pods there is no switch"
        yield fault(f"{path}.traffic.mode", spec.traffic.mode, text)
