"""When a flag may be taken, whether it is still as we left it, and who may say so: the rules of ownership, without I/O.

Linnet never fights over a flag: what a person changed is reported with the name that Unleash's event log gives, and stays.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from flags.errors import Busy, Direction, Exposed, Forbidden, Invalid
from flags.model import Owner
from flags.unleash_rules import Arm
from flags.unleash_view import Strategy, View, combined

UNNAMED = "default"
CREATE, UPDATE, SWITCH = "CREATE_FEATURE_STRATEGY", "UPDATE_FEATURE_STRATEGY", "UPDATE_FEATURE_ENVIRONMENT"


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """What is not as we left it, as half a sentence."""

    direction: Direction
    text: str


def inherited(strategy: Strategy, owner: Owner) -> bool:
    """Left by an earlier Canary of the same cluster, namespace and name, which is gone: there is one object of a name at a time.

    A cluster that nobody gave a name is `default`, as others are too: then only what reaches nobody is taken over.
    """
    mark = strategy.mark or ""
    same = mark != owner.mark() and mark.startswith(f"{owner.cluster}/{owner.namespace}/{owner.name}/")
    return same and (owner.cluster != UNNAMED or strategy.percent == 0)


def refuse_other(seen: View, owner: Owner) -> None:
    """One writer per flag and environment."""
    other = next((s for s in seen.driven if s.mark != owner.mark() and not inherited(s, owner)), None)
    if other is None:
        return
    raise Busy(
        f"flag {seen.key} in {seen.where} is driven by Canary {other.mark} (cluster/namespace/name/uid), by its {other.called}. Wait for it, "
        f"or if that Canary is gone: set that strategy to 0 % and delete it in Unleash.",
        owner=str(other.mark),
    )


def refuse_plan(seen: View, strategies: Iterable[Strategy]) -> None:
    """A release plan (Enterprise) moves the same environment on its own."""
    if any(s.milestone for s in strategies):
        raise Invalid(
            field=f"flags[{seen.key}]",
            value="release plan",
            problem=f"a release plan of Unleash drives it in {seen.where}",
            way_out="Finish or remove the release plan, or leave the flag out of the Canary.",
        )


def refuse_exposed(seen: View, wanted: Mapping[str, Arm]) -> None:
    """People who have the flag anyway are no canary: what others let in is weighed for each share that we want."""
    moving = {role: arm for role, arm in wanted.items() if arm.percent} or dict(wanted)
    for role, arm in moving.items():
        covering = _covering(seen, arm)
        reach = combined(covering, arm.parameters["groupId"])
        if not covering or reach < max(1, arm.percent):
            continue
        names = ", ".join(s.called for s in covering)
        once = "" if seen.enabled else " as soon as the environment is on"
        whom = "everybody" if role == "all" else f"cohort {role}"
        raise Exposed(
            f"flag {seen.key} in {seen.where} reaches {reach} % of {whom} without Linnet{once}, by {names}: a share of {arm.percent} % would "
            "prove nothing. Lower or disable that first, or leave the flag out of this Canary."
        )


def _covering(seen: View, arm: Arm) -> list[Strategy]:
    """Foreign strategies that let in whom this arm addresses, and perhaps more."""
    return [s for s in seen.foreign if s.reach and s.conditions <= arm.conditions and set(s.segments) <= set(arm.segments)]


def refuse_rights(account: Mapping[str, Any], project: str, environment: str, *, switch: bool) -> None:
    """From `GET /api/admin/user`: what is missing is named before anything is written."""
    needed = [CREATE, UPDATE, *([SWITCH] if switch else [])]
    held = [item for item in account.get("permissions") or [] if isinstance(item, dict)]
    lacking = [name for name in needed if not any(_grants(item, name, project, environment) for item in held)]
    if not lacking:
        return
    user = account.get("user")
    who = user.get("username", "?") if isinstance(user, dict) else "?"
    raise Forbidden(
        f"Unleash account {who} lacks {', '.join(lacking)} in project {project}, environment {environment}: give it a role that has them "
        "(Editor has), or put another account's token into the Secret that FlagSource names."
    )


def _grants(item: Mapping[str, Any], name: str, project: str, environment: str) -> bool:
    if item.get("permission") == "ADMIN":
        return True
    here = item.get("project") in (None, "", "*", project) and item.get("environment") in (None, "", "*", environment)
    return here and item.get("permission") == name


def drift(seen: View, expected: Mapping[str, Arm], mark: str) -> Drift | None:
    """The first difference to what we wrote, the lowering ones first: a brake that was pulled counts before anything else."""
    if not any(arm.percent for arm in expected.values()):
        return None  # at 0 there is nothing that a person could take back, and nothing of ours that reaches anybody
    if not seen.enabled:
        return Drift(direction="lower", text=f"flag {seen.key} was switched off in {seen.where}")
    own = {s.role: s for s in reversed(seen.own(mark))}
    found = [d for role, arm in expected.items() if (d := _moved(seen, own.get(role), arm)) is not None]
    found += [d for role, arm in expected.items() if (d := _opened(seen, role, arm)) is not None]
    order = ("lower", "higher", "other")
    return min(found, key=lambda item: order.index(item.direction), default=None)


def _moved(seen: View, found: Strategy | None, arm: Arm) -> Drift | None:
    if found is None:
        if not arm.percent:
            return None
        return Drift(direction="lower", text=f"the strategy of flag {seen.key} for {arm.role} was removed or renamed in {seen.where}")
    where = f"{found.called} of flag {seen.key}"
    if found.disabled and arm.percent:
        return Drift(direction="lower", text=f"{where} was disabled")
    if found.percent is None:
        return Drift(direction="other", text=f"{where} has rollout {found.parameters.get('rollout')!r}, which SDKs read differently")
    if found.percent != arm.percent:
        direction: Direction = "lower" if found.percent < arm.percent else "higher"
        return Drift(direction=direction, text=f"{where} is at {found.percent} %, not at {arm.percent} %")
    if found.conditions != arm.conditions or sorted(found.segments) != sorted(arm.segments):
        return Drift(direction=_direction(found, arm), text=f"{where} has other constraints than Linnet wrote")
    if found.parameters.get("groupId") != arm.parameters["groupId"] or not _sticks(found, arm):
        return Drift(direction="other", text=f"{where} has another group id or stickiness than Linnet wrote")
    return None


def _sticks(found: Strategy, arm: Arm) -> bool:
    """By the field that we chose; a share that a person took down from 100 % still sticks by what goes with 100 %."""
    return found.parameters.get("stickiness") in (arm.parameters["stickiness"], "default" if found.written == "100" else None)


def _direction(found: Strategy, arm: Arm) -> Direction:
    if found.conditions <= arm.conditions and set(found.segments) <= set(arm.segments):
        return "higher"
    if found.conditions >= arm.conditions and set(found.segments) >= set(arm.segments):
        return "lower"
    return "other"


def _opened(seen: View, role: str, arm: Arm) -> Drift | None:
    covering = _covering(seen, arm)
    reach = combined(covering, arm.parameters["groupId"])
    if not arm.percent or reach < arm.percent:
        return None
    names = ", ".join(s.called for s in covering)
    whom = "everybody" if role == "all" else f"cohort {role}"
    return Drift(direction="higher", text=f"flag {seen.key} was opened for {reach} % of {whom} in {seen.where} by {names}")
