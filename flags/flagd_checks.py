"""When a flag may be taken, whether it is still as we left it, and how it is put back: the rules of ownership, without I/O.

Linnet never fights over a flag: what a person changed is reported with its manager's name and stays.
"""

import json

from flags import splice
from flags.compare import drift, shown, told
from flags.errors import Direction, Drifted, Exposed, Invalid
from flags.flagd_rules import Targeting, Variants, evaluator_name, mentions, paste, rule_for
from flags.flagd_view import Original, View, drop_rule, writer_of
from flags.model import Desired


def preflight(seen: View, desired: Desired) -> None:
    """Everything that makes taking this flag wrong, before the first byte is written."""
    flag, targeting = seen.key, seen.targeting
    if not seen.enabled:
        raise Invalid(
            field=f"flags.{flag}.state",
            value="DISABLED",
            problem="SDKs ignore the flag",
            way_out="Set it to ENABLED, with the off variant as default.",
        )
    if targeting.reach == seen.variants.on:
        raise Exposed(
            f"flag {flag} in {seen.where} is {targeting.reach!r} for everybody without Linnet. Make {seen.variants.off!r} its default first."
        )
    if not (targeting.absent or targeting.refers):
        field = f"flags.{flag}.targeting"
        raise Invalid(
            field=field, value=json.dumps(targeting.reach), problem="it is not Linnet's to change", way_out=paste(flag, seen.variants)
        )
    if seen.rule is not None and seen.wrote is None:
        field = f"$evaluators.{evaluator_name(flag)}"
        raise Invalid(field=field, value=json.dumps(seen.rule), problem="Linnet did not write it", way_out="Remove or rename it.")
    if seen.wrote and desired.gate and seen.wrote.gate is None and (shares := shown(seen.wrote)):
        raise Exposed(
            f"flag {flag} in {seen.where} is on for {shares} since an earlier promotion; a gate would take it from them. "
            "Leave the flag out of this Canary, or set it to 0 first."
        )


def refuse_drift(seen: View, expected: Desired) -> None:
    """The flag must be exactly what we wrote; a person who changed it has the last word."""
    by = writer_of(seen)
    if not seen.enabled:
        raise Drifted(f"flag {seen.key} was disabled by {by}", direction="lower", by=by)
    if not seen.targeting.refers:
        direction = _reach(seen.targeting, seen.variants)
        raise Drifted(f"flag {seen.key} no longer refers to {evaluator_name(seen.key)}, changed by {by}", direction=direction, by=by)
    if seen.targeting.reach == seen.variants.on:
        raise Drifted(f"flag {seen.key} was turned on for everybody by {by}", direction="higher", by=by)
    if seen.rule is None:
        raise Drifted(f"evaluator {evaluator_name(seen.key)} was removed by {by}", direction="lower", by=by)
    moved = drift(seen.wrote, expected)
    if moved is None:
        return
    found = told(seen.wrote) if seen.wrote else "a rule of somebody's own"
    raise Drifted(f"flag {seen.key} is {found}, not {told(expected)}: changed by {by}", direction=moved, by=by)


def restored(seen: View, found: Original) -> str:
    """The file without anything of ours, everything that people changed in between kept."""
    text, path = seen.text, ("flags", seen.key, "targeting")
    if seen.rule is not None and seen.wrote is None:
        _left(seen, f"evaluator {evaluator_name(seen.key)}")
    if seen.targeting.written:
        text = splice.drop(text, path) if found.targeting is None else splice.put(text, path, found.targeting)
    elif found.targeting is None and mentions(seen.key, seen.targeting.found):
        _left(seen, f"the targeting of flag {seen.key}")
    return drop_rule(text, seen.key, found)


def _left(seen: View, what: str) -> None:
    by = writer_of(seen)
    raise Drifted(
        f"{what} in {seen.where} was rewritten by {by} and is left alone. Remove it by hand when nothing refers to it.",
        direction="other",
        by=by,
    )


def foreign(seen: View) -> tuple[str, ...]:
    """What people wrote in the places that we would use."""
    found = []
    if not (seen.targeting.absent or seen.targeting.refers):
        found.append("targeting")
    if seen.rule is not None and seen.wrote is None:
        found.append(f"$evaluators.{evaluator_name(seen.key)}")
    return tuple(found)


def already(seen: View, desired: Desired) -> bool:
    """Whether `desired` is in force, as after a crash between our write and the caller's note of it."""
    return (
        seen.enabled
        and seen.targeting.refers
        and seen.targeting.reach != seen.variants.on
        and seen.rule == rule_for(desired, seen.variants)
    )


def _reach(targeting: Targeting, variants: Variants) -> Direction:
    match targeting.reach:
        case variants.on:
            return "higher"
        case variants.off:
            return "lower"
        case _:
            return "other"
