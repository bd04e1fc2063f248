"""Our rule inside a flagd flag, as pure functions of JSON: how it is written, recognised and told from what people wrote.

flagd has one targeting expression per flag, so "own one strategy" is not possible as it is elsewhere. We own one shared
evaluator, `linnet-<flag>`, a plain true or false; the flag refers to it in one branch, and everything else stays the people's:

    "targeting": {"if": [{"$ref": "linnet-new-checkout"}, "on", <whatever was there>]}

The share is the `fractional` shorthand and nothing else: it hashes flag and targeting key and yields nothing for a request without
a targeting key, where the widespread `cat` form puts all anonymous requests into one bucket together.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from flags.errors import Direction, Invalid
from flags.model import Desired, Gate

# SDKs substitute `$ref` by text; names that need escaping inside JSON or a regular expression break some of them.
_SIMPLE = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_ALWAYS = {"==": [1, 1]}


class Variants(msgspec.Struct, frozen=True, kw_only=True):
    """The two names a flag switches between."""

    on: str
    off: str


class Targeting(msgspec.Struct, frozen=True, kw_only=True):
    """How a flag's targeting relates to our rule. `written` is exactly what we would write; `reach` is the branch taken without us."""

    found: Any
    absent: bool
    refers: bool
    written: bool
    reach: Any


def evaluator_name(key: str) -> str:
    """The shared evaluator that is ours for this flag."""
    return f"linnet-{key}"


def variants_of(key: str, flag: Mapping[str, Any]) -> Variants:
    """The on and off variant: the only true and the only false one, or the two named so."""
    variants = flag.get("variants")
    field = f"flags.{key}.variants"
    way_out = 'Give the flag one variant that is true and one that is false, or two named "on" and "off".'
    if not isinstance(variants, dict):
        raise Invalid(field=field, value=variants, problem="it is not an object", way_out=way_out)
    on = [name for name, value in variants.items() if value is True]
    off = [name for name, value in variants.items() if value is False]
    if len(on) == 1 and len(off) == 1 and len(variants) == 2:
        found = Variants(on=on[0], off=off[0])
    elif set(variants) == {"on", "off"}:
        found = Variants(on="on", off="off")
    else:
        raise Invalid(
            field=field, value=variants, problem="only flags with one on and one off variant are driven in this version", way_out=way_out
        )
    for name in (key, found.on, found.off):
        if not _SIMPLE.fullmatch(name):
            raise Invalid(
                field=field, value=name, problem="SDKs substitute it by text", way_out="Use letters, digits, '-', '_' and '.' in it."
            )
    return found


def rule_for(desired: Desired, variants: Variants) -> dict[str, Any]:
    """The evaluator for `desired`: true where the flag is on."""
    clauses: list[Any] = []
    if desired.gate is not None:
        clauses.append({"==": [{"var": desired.gate.attribute}, desired.gate.value]})
    if desired.percent < 100:
        share = {"fractional": [[variants.on, desired.percent], [variants.off, 100 - desired.percent]]}
        clauses.append({"==": [share, variants.on]})
    return {"and": clauses} if clauses else dict(_ALWAYS)


def desired_of(rule: Any, variants: Variants) -> Desired | None:
    """The inverse of `rule_for`; None for anything that we did not write."""
    if rule == _ALWAYS:
        return Desired(percent=100)
    percent, gate = 100, None
    for clause in _clauses(rule):
        left, right = _equality(clause)
        match left:
            case {"var": str(attribute)} if isinstance(right, str):
                gate = Gate(attribute=attribute, value=right)
            case {"fractional": [[variants.on, int(share)], [variants.off, int()]]} if right == variants.on:
                percent = share
            case _:
                return None
    found = Desired(percent=percent, gate=gate)
    return found if rule_for(found, variants) == rule else None


def targeting_for(key: str, variants: Variants) -> dict[str, Any]:
    """The targeting of a flag that had none."""
    return {"if": [{"$ref": evaluator_name(key)}, variants.on, variants.off]}


def targeting_of(key: str, flag: Mapping[str, Any], variants: Variants) -> Targeting:
    """Whether the flag refers to our evaluator in a branch of its top-level `if`, and what it gives without us."""
    targeting = flag.get("targeting")
    default = flag.get("defaultVariant")
    if targeting is None or targeting == {}:
        return Targeting(found=targeting, absent=True, refers=False, written=False, reach=default)
    branches = targeting.get("if") if isinstance(targeting, dict) and len(targeting) == 1 else None
    if not isinstance(branches, list):
        return Targeting(found=targeting, absent=False, refers=False, written=False, reach=targeting)
    pairs = list(zip(branches[0::2], branches[1::2], strict=False))
    refers = ({"$ref": evaluator_name(key)}, variants.on) in pairs
    reach = branches[-1] if len(branches) % 2 else default
    return Targeting(found=targeting, absent=False, refers=refers, written=targeting == targeting_for(key, variants), reach=reach)


def mentions(key: str, value: Any) -> bool:
    """Whether our evaluator is referred to anywhere in `value`."""
    return json.dumps({"$ref": evaluator_name(key)}) in json.dumps(value)


def paste(key: str, variants: Variants) -> str:
    """The line that hands a flag with targeting of its own over to us."""
    branch = f'{{"if": [{{"$ref": "{evaluator_name(key)}"}}, "{variants.on}", <your targeting>]}}'
    seed = f'"$evaluators": {{"{evaluator_name(key)}": {json.dumps(rule_for(Desired(percent=0), variants))}}}'
    return f'Put one branch in front of it, "targeting": {branch}, and beside "flags" {seed}; Linnet then writes only that evaluator.'


def drift(found: Desired | None, expected: Desired) -> Direction | None:
    """How the rule found differs from the one we wrote. A missing gate exposes more, a new one less."""
    if found is None:
        return "other"
    if found.gate != expected.gate:
        return "higher" if found.gate is None else "lower" if expected.gate is None else "other"
    if found.percent == expected.percent:
        return None
    return "lower" if found.percent < expected.percent else "higher"


def _clauses(rule: Any) -> list[Any]:
    match rule:
        case {"and": [*clauses]} if len(rule) == 1 and clauses:
            return list(clauses)
        case _:
            return [None]


def _equality(clause: Any) -> tuple[Any, Any]:
    match clause:
        case {"==": [left, right]} if len(clause) == 1:
            return left, right
        case _:
            return None, None
