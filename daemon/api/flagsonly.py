"""What a release of flags alone (`traffic.mode: None`) needs and cannot have: the rules of a spec that has no pods and no traffic.

Everything that speaks of pods, weights or routes would be accepted and do nothing, so it is refused; what such a release is judged by must
be said, because nothing but the owner's metrics tells requests with the flag from those without.
"""

from daemon.api.canary import CanarySpec, Metric
from daemon.api.errors import Errors, fault


def flags_only_faults(spec: CanarySpec, path: str) -> Errors:
    """Refused where mode is None: in the words of what to write instead."""
    if not spec.flags:
        yield fault(f"{path}.flags", None, "are missing: with traffic.mode None there is nothing else to release", "Required")
    for index, flag in enumerate(spec.flags or []):
        if flag.mode not in (None, "Independent"):
            text = f"{flag.mode} needs canary pods, and with traffic.mode None there are none; leave mode out or write Independent"
            yield fault(f"{path}.flags[{index}].mode", flag.mode, text)
    if spec.traffic is not None:
        for name in ("service_ref", "routes", "identity", "drain"):
            if getattr(spec.traffic, name):
                camel = "serviceRef" if name == "service_ref" else name
                yield fault(f"{path}.traffic.{camel}", None, "goes with a release of pods; remove it, or change traffic.mode")
    if spec.strategy is not None and spec.strategy.ramp == "Adaptive":
        text = "evidence moves weights, and with traffic.mode None there are none; leave ramp out or write Steps"
        yield fault(f"{path}.strategy.ramp", spec.strategy.ramp, text)
    yield from _steps(spec, path)
    yield from _judged(spec, path)


def _steps(spec: CanarySpec, path: str) -> Errors:
    steps = spec.steps or []
    if not any(step.flags for step in steps):
        yield fault(f"{path}.steps", None, "give the flags no shares: say what share sees each flag, step by step", "Required")
    for index, step in enumerate(steps):
        if step.approval is not None and step.approval.not_by_author:
            text = "is not on record where no template is held, so nobody could approve; leave it out, and name whose yes counts with among"
            yield fault(f"{path}.steps[{index}].approval.notByAuthor", None, f"the author {text}")
        if step.weight is not None:
            text = "a weight is a share of traffic, and with traffic.mode None there is none to move; write flags with their percent"
            yield fault(f"{path}.steps[{index}].weight", step.weight, text)


def _judged(spec: CanarySpec, path: str) -> Errors:
    analysis = spec.analysis
    if analysis is not None and analysis.judge == "TemplatesOnly":
        return
    metrics = (analysis.metrics if analysis else None) or []
    if not metrics:
        text = "are missing: flag-on is compared with flag-off by counters that the app labels with the flag's state"
        yield fault(f"{path}.analysis.metrics", None, text, "Required")
    for index, metric in enumerate(metrics):
        yield from _told_apart(metric, len(spec.flags or []), f"{path}.analysis.metrics[{index}]")


def _told_apart(metric: Metric, flags: int, path: str) -> Errors:
    if metric.preset is not None:
        text = "a preset compares pods, and there are none of a canary; name the app's own counters by ratio or histogram"
        yield fault(f"{path}.preset", metric.preset, text)
    elif metric.arm_labels is None and flags != 1:
        text = "is missing: with several flags say which labels tell requests with them (canary) from those without (stable)"
        yield fault(f"{path}.armLabels", None, text, "Required")
