"""What `mode: Observe` cannot watch. All else of a spec may stay as it will be enforced: the switch is this one field."""

from daemon.api.canary import ReleaseSpec
from daemon.api.errors import Errors, fault


def faults(spec: ReleaseSpec, path: str) -> Errors:
    """Refused where there is nothing to compare."""
    if spec.mode != "Observe":
        return
    if spec.traffic is not None and spec.traffic.mode == "None":
        text = "compares old pods with new ones, and a release of flags alone (traffic.mode None) has none: leave mode out"
        yield fault(f"{path}.mode", spec.mode, f"Observe {text}")
    if spec.analysis is not None and spec.analysis.judge == "TemplatesOnly":
        text = "compares two versions by their metrics, and judge TemplatesOnly compares none: use Statistical"
        yield fault(f"{path}.mode", spec.mode, f"Observe {text}")
