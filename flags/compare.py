"""Two states of a flag held against each other: has a person lowered it, opened it, or made something else of it? Pure."""

from flags.errors import Direction
from flags.model import EVERYONE, Desired


def drift(found: Desired | None, expected: Desired) -> Direction | None:
    """How what was found differs from what we wrote; lower counts first. A missing gate exposes more, a new one less."""
    if found is None:
        return "other"
    if found.gate != expected.gate:
        return "higher" if found.gate is None else "lower" if expected.gate is None else "other"
    before, now = shares(expected), shares(found)
    if any(now.get(name, 0) < percent for name, percent in before.items()):
        return "lower"
    if any(before.get(name, 0) < percent for name, percent in now.items()):
        return "higher"
    return None if _who(found) == _who(expected) else "other"


def shares(desired: Desired) -> dict[str, int]:
    """Percent by cohort, everybody's included."""
    return {EVERYONE: desired.percent, **{cohort.name: cohort.percent for cohort in desired.cohorts}}


def exposes(desired: Desired) -> bool:
    """Whether anybody at all has it."""
    return any(shares(desired).values())


def shown(desired: Desired) -> str:
    """Whom it lets in, in words; empty where nobody."""
    words = [(cohort.percent, f"cohort {cohort.name}") for cohort in desired.cohorts]
    return ", ".join(f"{percent} % of {whom}" for percent, whom in [(desired.percent, "everybody"), *words] if percent)


def told(desired: Desired) -> str:
    """The whole of it, for a message."""
    gate = f" where {desired.gate.attribute} is {desired.gate.value}" if desired.gate else ""
    return f"on for {shown(desired) or 'nobody'}{gate}"


def _who(desired: Desired) -> dict[str, object]:
    return {cohort.name: (frozenset(cohort.constraints), cohort.segment) for cohort in desired.cohorts if cohort.percent}
