"""What a provider is asked for, weighed against what it can do, before any call. Pure.

One place for all providers, so that the same mistake gets the same sentence everywhere, with field, value and way out. A service that
stores whatever it is sent is no check: 12.5 % is 0 % for one SDK and 13 % for another.
"""

from collections.abc import Iterator, Sequence

from flags.errors import Invalid
from flags.model import EVERYONE, Capabilities, Cohort, Constraint, Desired, FlagRef

_LISTS = ("IN", "NOT_IN", "STR_")


def admit(flag: FlagRef, desired: Desired, can: Capabilities) -> None:
    """Raises Invalid for the first thing that this provider cannot do."""
    for problem in problems(f"flags[{flag.key}]", desired, can):
        raise problem


def problems(field: str, desired: Desired, can: Capabilities) -> Iterator[Invalid]:
    """Everything that `desired` wants and the provider cannot do; `field` is where people find it."""
    yield from _percent(f"{field}.percent", desired.percent)
    yield from _stickiness(f"{field}.stickiness", desired.stickiness, can)
    if desired.gate is not None and not can.gates:
        way_out = "Use mode Independent for this flag."
        yield Invalid(field=f"{field}.mode", value="Gated", problem=f"{can.name} cannot limit a flag to the canary's pods", way_out=way_out)
    if desired.group and not can.buckets:
        problem = f"SDKs of {can.name} choose people by a rule of their own, which no route can follow"
        yield Invalid(field=f"{field}.mode", value="Aligned", problem=problem, way_out="Use mode Gated or Independent for this flag.")
    if desired.cohorts and not can.cohorts:
        names = ", ".join(cohort.name for cohort in desired.cohorts)
        yield Invalid(field=f"{field}.cohorts", value=names, problem=f"{can.name} knows no cohorts here", way_out="Leave cohorts out.")
        return
    names_so_far: set[str] = {EVERYONE}
    for cohort in desired.cohorts:
        yield from _cohort(f"{field}.cohorts[{cohort.name}]", cohort, names_so_far, can)
        names_so_far.add(cohort.name)


def _percent(field: str, value: object) -> Iterator[Invalid]:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 100:
        yield Invalid(field=field, value=value, problem="it is not within 0..100", way_out="Use an integer from 0 to 100.")


def _stickiness(field: str, value: str, can: Capabilities) -> Iterator[Invalid]:
    if not value:
        yield Invalid(field=field, value="", problem="it is empty", way_out="Use targetingKey or the name of a context field.")
    elif value not in can.stickiness and not can.context_fields:
        known = ", ".join(can.stickiness)
        way_out = f"Use one of: {known}; and have apps set that to what should stick."
        yield Invalid(field=field, value=value, problem=f"shares of {can.name} are not by it", way_out=way_out)


def _cohort(field: str, cohort: Cohort, names: set[str], can: Capabilities) -> Iterator[Invalid]:
    yield from _percent(f"{field}.percent", cohort.percent)
    if cohort.name in names:
        problem = "that is what the share of everybody is called" if cohort.name == EVERYONE else "it is there twice"
        yield Invalid(field=f"{field}.name", value=cohort.name, problem=problem, way_out="Give each cohort a name of its own.")
    if not cohort.constraints and cohort.segment is None:
        way_out = "Give it constraints, or the name of a segment."
        yield Invalid(field=field, value=cohort.name, problem="nothing says who is in it, so it would be everybody", way_out=way_out)
    if cohort.segment is not None and not can.segments:
        way_out = "Say who is in it by constraints."
        yield Invalid(field=f"{field}.segment", value=cohort.segment, problem=f"{can.name} has no segments by name", way_out=way_out)
    for item in cohort.constraints:
        yield from _constraint(f"{field}.constraints[{item.attribute}]", item, can.operators, can.name)


def _constraint(field: str, item: Constraint, operators: Sequence[str], name: str) -> Iterator[Invalid]:
    if item.operator not in operators:
        way_out = f"Use one of: {', '.join(operators)}."
        yield Invalid(field=f"{field}.operator", value=item.operator, problem=f"{name} does not know it", way_out=way_out)
    if not item.values:
        yield Invalid(field=f"{field}.values", value=item.attribute, problem="it has no values", way_out="List at least one value.")
    elif len(item.values) > 1 and not item.operator.startswith(_LISTS):
        listed = ", ".join(item.values)
        yield Invalid(field=f"{field}.values", value=listed, problem=f"{item.operator} takes one value", way_out="Leave one of them.")
