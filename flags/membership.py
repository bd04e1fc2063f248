"""Who has a flag, and why: the rule of the shares applied to one person, for those who are asked "why do I (not) see it?". Pure.

The bucket is that of Unleash's SDKs. What only the flag system knows (who is in a segment) and what nobody told us (a property) is said as
a condition instead of guessed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from flags.buckets import bucket
from flags.model import EVERYONE, Cohort, Constraint, Desired

Answer = Literal["in", "out", "unknown"]
_TESTS: Mapping[str, Callable[[str, Sequence[str]], bool]] = {
    "IN": lambda value, values: value in values,
    "NOT_IN": lambda value, values: value not in values,
    "STR_STARTS_WITH": lambda value, values: value.startswith(tuple(values)),
    "STR_ENDS_WITH": lambda value, values: value.endswith(tuple(values)),
    "STR_CONTAINS": lambda value, values: any(part in value for part in values),
}


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """What one share makes of this person."""

    cohort: str
    percent: int
    answer: Answer
    why: str


class Membership(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of it: in where any share lets the person in; `bucket` is 1..100."""

    answer: Answer
    bucket: int
    reasons: tuple[Reason, ...]
    gate: str = ""


def membership(group: str, flag: Desired, identity: str, properties: Mapping[str, str]) -> Membership:
    """What `flag`, whose shares are by `group`, is for this id."""
    place = bucket(group, identity)
    reasons = tuple(_reasons(flag, place, properties))
    answers = {reason.answer for reason in reasons}
    answer: Answer = "in" if "in" in answers else "unknown" if "unknown" in answers else "out"
    gate = f"only on pods whose context has {flag.gate.attribute}={flag.gate.value}" if flag.gate else ""
    return Membership(answer=answer, bucket=place, reasons=reasons, gate=gate)


def _reasons(flag: Desired, place: int, properties: Mapping[str, str]) -> Iterator[Reason]:
    yield _share(EVERYONE, flag.percent, place, "in", "")
    for cohort in flag.cohorts:
        belongs, why = _belongs(cohort, properties)
        yield _share(cohort.name, cohort.percent, place, belongs, why)


def _share(name: str, percent: int, place: int, belongs: Answer, why: str) -> Reason:
    within = place <= percent
    words = f"bucket {place} is {'within' if within else 'beyond'} {percent} %"
    if belongs == "out":
        words = why
    elif why:
        words = f"{why}; {words}"
    return Reason(cohort=name, percent=percent, answer=belongs if within else "out", why=words)


def _belongs(cohort: Cohort, properties: Mapping[str, str]) -> tuple[Answer, str]:
    found = [_meets(item, properties) for item in cohort.constraints]
    if cohort.segment is not None:
        found.append(("unknown", f"if segment {cohort.segment} has this person"))
    said = {answer for answer, _ in found}
    answer: Answer = "out" if "out" in said else "unknown" if "unknown" in said else "in"
    return answer, ", ".join(why for one, why in found if one == answer)


def _meets(item: Constraint, properties: Mapping[str, str]) -> tuple[Answer, str]:
    rule = f"{item.attribute} {item.operator} {', '.join(item.values)}"
    if item.attribute not in properties:
        return "unknown", f"if {rule} (give --property {item.attribute}=...)"
    test = _TESTS.get(item.operator)
    if test is None:
        return "unknown", f"if {rule}"
    value = properties[item.attribute]
    return ("in", f"{rule}: {value}") if test(value, item.values) else ("out", f"not {rule}: {value}")
