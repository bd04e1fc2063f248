"""What is wrong with the shares of flags: cohorts that nobody is in, cohorts that no flag declares, people who would lose a flag.

Only the merged spec can tell: cohorts are declared with the flag, steps give them shares, and either may come from a profile.
"""

from daemon.api.canary import Flag, FlagStep, Step
from daemon.api.errors import Errors, fault
from daemon.api.structure import nearest

EVERYONE = "all"  # what a share of everybody is called beside those of cohorts


def cohort_faults(flags: list[Flag], path: str) -> Errors:
    """Each cohort by itself."""
    for index, flag in enumerate(flags):
        for place, cohort in enumerate(flag.cohorts or []):
            here = f"{path}[{index}].cohorts[{place}]"
            if cohort.name == EVERYONE:
                yield fault(f"{here}.name", cohort.name, f"{EVERYONE!r} is what the share of everybody is called; choose another name")
            if cohort.segment is None and not cohort.constraints:
                text = f"nothing says who is in {cohort.name}, so it would be everybody; give it constraints, or a segment by name"
                yield fault(here, cohort.name, text, "Required")


def share_faults(flags: list[Flag], steps: list[Step], steps_path: str, flags_path: str) -> Errors:
    """Flags and steps together: what steps speak of is declared, and no share falls unless that is said."""
    declared = {flag.name: flag for flag in flags}
    highest: dict[tuple[str, str], tuple[int, str]] = {}
    for index, step in enumerate(steps):
        for place, one in enumerate(step.flags or []):
            here = f"{steps_path}[{index}].flags[{place}]"
            if one.name in declared:
                yield from _undeclared(declared[one.name], one, here)
                yield from _falling(declared[one.name], one, here, highest)
    mentioned = {f.name for step in steps for f in step.flags or []}
    for index, flag in enumerate(flags):
        if flag.mode == "Independent" and flag.name not in mentioned:
            text = f"no step gives {flag.name} a share, and without a gate it would be on for everybody at once; give it one in spec.steps"
            yield fault(f"{flags_path}[{index}].mode", flag.mode, text)


def _undeclared(flag: Flag, one: FlagStep, path: str) -> Errors:
    known = [cohort.name for cohort in flag.cohorts or []]
    for place, cohort in enumerate(one.cohorts or []):
        if cohort.name not in known:
            near = nearest(cohort.name, known)
            way_out = f"did you mean {near}?" if near else "declare it there, with constraints or a segment"
            text = f"flag {flag.name} of spec.flags has no cohort {cohort.name!r}; {way_out}"
            yield fault(f"{path}.cohorts[{place}].name", cohort.name, text, "UnknownCohort")


def _falling(flag: Flag, one: FlagStep, path: str, highest: dict[tuple[str, str], tuple[int, str]]) -> Errors:
    """Somebody who has the flag would lose it in the middle of a release.

    Everyone's share behind a gate may fall: what people have is weight times share, and the weight rises.
    """
    shares = [] if one.percent is None or flag.mode in (None, "Gated") else [(EVERYONE, one.percent, f"{path}.percent")]
    shares += [(c.name, c.percent, f"{path}.cohorts[{i}].percent") for i, c in enumerate(one.cohorts or [])]
    for name, percent, where in shares:
        before, there = highest.get((one.name, name), (0, ""))
        if percent < before and not one.may_shrink:
            text = f"{percent} is below the {before} of {there}: people would lose flag {one.name}; raise it, or say mayShrink: true"
            yield fault(where, percent, text)
        highest[one.name, name] = (percent, where)
