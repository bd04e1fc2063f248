"""Flags that go to the same users as the new pods (`mode: Aligned`): what names their buckets, and what cannot be aligned.

Flag and route go by one number, the user's bucket in a group. The edge computes it before the route is chosen, so whatever the edge cannot
know (who is in a cohort, a throw of dice inside an SDK) cannot be aligned, and is refused here in words of what to write instead.
"""

from collections.abc import Sequence
from typing import Final

from daemon.api.canary import Flag, ReleaseSpec, Step
from daemon.api.errors import Errors, fault

HEADER: Final = "X-Linnet-Bucket"
GROUP: Final = "linnet"
UNKNOWN: Final = ("default", "random")  # ways to stick that leave the SDK a choice which nobody else sees
TARGETING_KEY: Final = "targetingKey"
USER_ID: Final = "userId"  # what it is called in Unleash


def aligned(spec: ReleaseSpec) -> list[Flag]:
    return [flag for flag in spec.flags or [] if flag.mode == "Aligned"]


def bucket_header(spec: ReleaseSpec) -> str:
    """By which the route tells users apart; empty where no flag is to meet the same ones."""
    buckets = spec.traffic.buckets if spec.traffic is not None else None
    return ((buckets.header if buckets else None) or HEADER) if aligned(spec) else ""


def bucket_group(spec: ReleaseSpec) -> str:
    """The group id that edge and flags share."""
    buckets = spec.traffic.buckets if spec.traffic is not None else None
    return (buckets.group if buckets else None) or GROUP


def aligned_faults(spec: ReleaseSpec, path: str) -> Errors:
    """Of all aligned flags and the steps together."""
    found = aligned(spec)
    mode = spec.traffic.mode if spec.traffic is not None else None
    for index, flag in enumerate(spec.flags or []):
        here = f"{path}.flags[{index}]"
        if flag not in found:
            continue
        if mode == "PodRatio":
            text = "Aligned needs a route that sends the flag's users to the new pods, and with mode PodRatio there is none; use Gated"
            yield fault(f"{here}.mode", flag.mode, text)
        if flag.cohorts:
            names = ", ".join(c.name for c in flag.cohorts)
            text = f"the route cannot tell who is in {names}: an aligned flag has no cohorts; remove them, or use Gated"
            yield fault(f"{here}.cohorts", names, text)
        if flag.stickiness in UNKNOWN:
            text = (
                f"by {flag.stickiness} each SDK chooses for itself, and the edge cannot follow; name the field whose value the edge knows"
            )
            yield fault(f"{here}.stickiness", flag.stickiness, text)
        elif _sticks(flag) != _sticks(found[0]):
            text = f"flag {found[0].name} is by {_sticks(found[0])}, and a request has one bucket: use the same for both"
            yield fault(f"{here}.stickiness", flag.stickiness, text)
    yield from _beyond({flag.name for flag in found}, spec.steps or [], f"{path}.steps")


def _sticks(flag: Flag) -> str:
    return USER_ID if flag.stickiness in (None, TARGETING_KEY) else flag.stickiness


def _beyond(names: set[str], steps: Sequence[Step], path: str) -> Errors:
    """People with the flag who would meet old pods."""
    weight = 0
    for index, step in enumerate(steps):
        weight = weight if step.weight is None else step.weight
        for place, one in enumerate(step.flags or []):
            if one.name in names and one.percent is not None and one.percent > weight:
                text = f"{one.percent} is above the weight of {weight}: these users would have the flag on old pods; leave percent out"
                yield fault(f"{path}[{index}].flags[{place}].percent", one.percent, f"{text}, or raise the weight")
