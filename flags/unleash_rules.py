"""What we write into Unleash: one strategy for everyone and one for each cohort, each as a whole. Pure.

All strategies of a flag share one group id, so that somebody who is in two of them is in with the larger percent, not with the union of
two throws. `rollout` is an integer as text, because SDKs read anything else differently. Below 100 % the share is by the id that sticks,
so that a request without one stays off; at 100 % it is every request.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from flags.model import EVERYONE, Desired, FlagRef, Owner
from flags.unleash_view import RELEASED, WORD, Condition, Strategy, condition, constraint, title_for

Operations = list[dict[str, Any]]
STICKINESS = ("targetingKey", "userId", "sessionId", "random", "default")
# What SDKs older than Unleash 8 do not know is left out: they would let nobody in, or everybody.
OPERATORS = (
    *("IN", "NOT_IN", "STR_STARTS_WITH", "STR_ENDS_WITH", "STR_CONTAINS", "NUM_EQ", "NUM_GT", "NUM_GTE", "NUM_LT", "NUM_LTE"),
    *("DATE_AFTER", "DATE_BEFORE", "SEMVER_EQ", "SEMVER_GT", "SEMVER_LT"),
)


class Arm(msgspec.Struct, frozen=True, kw_only=True):
    """One strategy as it should be."""

    role: str
    percent: int
    parameters: dict[str, str]
    constraints: list[dict[str, Any]]
    segments: list[int]

    @property
    def conditions(self) -> frozenset[Condition]:
        return frozenset(condition(item) for item in self.constraints)


def custom_stickiness(desired: Desired) -> str | None:
    """A context field of the owner's, which must exist; None for what every Unleash has."""
    return None if desired.stickiness in STICKINESS else desired.stickiness


def sticky_field(desired: Desired) -> str:
    """The context field whose value decides the bucket."""
    return "userId" if desired.stickiness == "targetingKey" else desired.stickiness


def arms(flag: FlagRef, desired: Desired, mark: str, segments: Mapping[str, int]) -> dict[str, Arm]:
    """What should be there, by role."""
    gate = [_gate(desired)] if desired.gate else []
    found = {EVERYONE: _arm(flag, desired, mark, EVERYONE, desired.percent, gate, [])}
    for cohort in desired.cohorts:
        conditions = [*gate, *(constraint(item) for item in cohort.constraints)]
        chosen = [] if cohort.segment is None else [segments[cohort.segment]]
        found[cohort.name] = _arm(flag, desired, mark, cohort.name, cohort.percent, conditions, chosen)
    return found


def _gate(desired: Desired) -> dict[str, Any]:
    assert desired.gate is not None
    return {
        "contextName": desired.gate.attribute,
        "operator": "IN",
        "inverted": False,
        "caseInsensitive": False,
        "values": [desired.gate.value],
    }


def _arm(
    flag: FlagRef, desired: Desired, mark: str, role: str, percent: int, constraints: list[dict[str, Any]], segments: list[int]
) -> Arm:
    # `default` sticks by userId too, and lets requests without any id in; at 100 % that is what is meant.
    stickiness = "default" if percent == 100 else sticky_field(desired)
    parameters = {"rollout": str(percent), "stickiness": stickiness, "groupId": desired.group or flag.key, WORD: f"{mark}@{percent}"}
    return Arm(role=role, percent=percent, parameters=parameters, constraints=constraints, segments=segments)


def is_as(strategy: Strategy, arm: Arm) -> bool:
    """Nothing to write."""
    return (
        not strategy.disabled
        and strategy.parameters == arm.parameters
        and strategy.conditions == arm.conditions
        and sorted(strategy.segments) == sorted(arm.segments)
    )


def creation(arm: Arm, owner: Owner, order: int) -> dict[str, Any]:
    """The body that makes the strategy: at 0 %, so that it may be there before the environment is on."""
    return {
        "name": "flexibleRollout",
        "title": title_for(owner.namespace, owner.name, arm.role),
        "disabled": False,
        "parameters": closed(arm.parameters),
        "constraints": arm.constraints,
        "segments": arm.segments,
        "variants": [],
        "sortOrder": order,
    }


def taking(found: Strategy, arm: Arm, owner: Owner) -> Operations:
    """A strategy that an earlier Canary left at 0 % becomes ours, at 0 %."""
    return [
        *_unchanged(found),
        _replace("/title", title_for(owner.namespace, owner.name, arm.role)),
        *_whole(arm.constraints, arm.segments),
        _replace("/disabled", False),
        _replace("/parameters", closed(arm.parameters)),
    ]


def moving(found: Strategy, arm: Arm) -> Operations:
    """To what is wanted, if it is still what was read."""
    return [*_unchanged(found), *_whole(arm.constraints, arm.segments), _replace("/parameters", arm.parameters)]


def closing(found: Strategy) -> Operations:
    """To 0 %, whatever else it is; it stays there and enabled, so that the environment stays as it is.

    Nothing but the share is written, so that what people edit at the same moment is theirs, and keeps nobody from braking.
    """
    parameters = closed(found.parameters)
    return [
        {"op": "test", "path": "/title", "value": found.title},
        {"op": "test", "path": f"/parameters/{WORD}", "value": found.parameters[WORD]},
        *(_replace(f"/parameters/{key}", parameters[key]) for key in ("rollout", WORD)),
    ]


def giving_up(found: Strategy) -> Operations:
    """Everything stays as it is, and is nobody's."""
    return [*_unchanged(found), _replace("/parameters", {**found.parameters, WORD: RELEASED})]


def handing_over(found: Strategy) -> Operations:
    """Everything stays as it is, and nothing says that it ever was ours: a later Canary meets it as anybody's."""
    parameters = {key: value for key, value in found.parameters.items() if key != WORD}
    title = "everyone" if found.role == EVERYONE else found.role
    return [*_unchanged(found), _replace("/title", title), _replace("/parameters", parameters)]


def closed(parameters: Mapping[str, str]) -> dict[str, str]:
    mark = parameters[WORD].rpartition("@")[0]
    return {**parameters, "rollout": "0", WORD: f"{mark}@0"}


def _unchanged(found: Strategy) -> Operations:
    """A person's edit in between fails the whole patch. (`null` for what is not set cannot be tested: it is left out then.)"""
    tests: dict[str, object] = {"/parameters": found.parameters, "/constraints": found.constraints, "/title": found.title}
    return [{"op": "test", "path": path, "value": value} for path, value in tests.items() if value is not None]


def _whole(constraints: list[dict[str, Any]], segments: list[int]) -> Operations:
    return [_replace("/constraints", constraints), _replace("/segments", segments)]


def _replace(path: str, value: object) -> dict[str, Any]:
    return {"op": "replace", "path": path, "value": value}
