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

from flags.errors import Invalid
from flags.model import Cohort, Constraint, Desired, Gate

# SDKs substitute `$ref` by text; names that need escaping inside JSON or a regular expression break some of them.
_SIMPLE = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_ALWAYS = {"==": [1, 1]}
_TEXTS = {"STR_STARTS_WITH": "starts_with", "STR_ENDS_WITH": "ends_with"}
OPERATORS = ("IN", "NOT_IN", *_TEXTS)


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
    """The evaluator for `desired`: true where the flag is on. Shares hash the same key, so that they overlap to the larger one."""
    clauses = [] if desired.gate is None else [{"==": [{"var": desired.gate.attribute}, desired.gate.value]}]
    share = _share(desired.percent, variants)
    if desired.cohorts:
        clauses.append({"or": [*(share or [_ALWAYS]), *(_cohort(cohort, variants) for cohort in desired.cohorts)]})
    else:
        clauses += share
    return {"and": clauses} if clauses else dict(_ALWAYS)


def _share(percent: int, variants: Variants) -> list[dict[str, Any]]:
    if percent == 100:
        return []
    return [{"==": [{"fractional": [[variants.on, percent], [variants.off, 100 - percent]]}, variants.on]}]


def _cohort(cohort: Cohort, variants: Variants) -> dict[str, Any]:
    """Its name stands in front: a text is true to every evaluator, and tells people what the branch is for."""
    return {"and": [cohort.name, *(_condition(item) for item in cohort.constraints), *_share(cohort.percent, variants)]}


def _condition(item: Constraint) -> dict[str, Any]:
    variable = {"var": item.attribute}
    match item.operator:
        case "IN":
            return {"in": [variable, list(item.values)]}
        case "NOT_IN":
            return {"!": {"in": [variable, list(item.values)]}}
        case other:
            tests = [{_TEXTS[other]: [variable, value]} for value in item.values]
            return tests[0] if len(tests) == 1 else {"or": tests}


def desired_of(rule: Any, variants: Variants) -> Desired | None:
    """The inverse of `rule_for`; None for anything that we did not write."""
    if rule == _ALWAYS:
        return Desired(percent=100)
    percent: int | None = None
    gate: Gate | None = None
    cohorts: tuple[Cohort, ...] = ()
    for clause in _clauses(rule, "and"):
        match clause:
            case {"==": [{"var": str(attribute)}, str(value)]}:
                gate = Gate(attribute=attribute, value=value)
            case {"or": [everyone, *branches]}:
                percent = 100 if everyone == _ALWAYS else _share_of(everyone)
                cohorts = tuple(cohort for branch in branches if (cohort := _cohort_of(branch)) is not None)
            case _:
                percent = _share_of(clause)
                if percent is None:
                    return None
    found = Desired(percent=100 if percent is None else percent, gate=gate, cohorts=cohorts)
    return found if rule_for(found, variants) == rule else None


def _share_of(clause: Any) -> int | None:
    match clause:
        case {"==": [{"fractional": [[_, int(share)], [_, int()]]}, _]}:
            return share
        case _:
            return None


def _cohort_of(branch: Any) -> Cohort | None:
    match branch:
        case {"and": [str(name), *conditions]}:
            share = _share_of(conditions[-1]) if conditions else None
            constraints = [_constraint_of(item) for item in (conditions if share is None else conditions[:-1])]
            known = tuple(item for item in constraints if item is not None)
            return Cohort(name=name, percent=100 if share is None else share, constraints=known)
        case _:
            return None


def _constraint_of(condition: Any) -> Constraint | None:
    match condition:
        case {"in": [{"var": str(attribute)}, [*values]]}:
            return Constraint(attribute=attribute, values=tuple(map(str, values)))
        case {"!": {"in": [{"var": str(attribute)}, [*values]]}}:
            return Constraint(attribute=attribute, values=tuple(map(str, values)), operator="NOT_IN")
        case _:
            return _text_of(condition)


def _text_of(condition: Any) -> Constraint | None:
    tests = _clauses(condition, "or") if isinstance(condition, dict) and "or" in condition else [condition]
    found = [(name, test[name]) for test in tests if isinstance(test, dict) for name in test]
    for operator, name in _TEXTS.items():
        match found:
            case [(used, [{"var": str(attribute)}, _]), *_] if used == name:
                return Constraint(attribute=attribute, values=tuple(str(pair[1][1]) for pair in found), operator=operator)
    return None


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


def _clauses(rule: Any, word: str) -> list[Any]:
    """What `word` joins; something that is no clause of ours where it joins nothing, or not alone."""
    found = rule.get(word) if isinstance(rule, dict) and len(rule) == 1 else None
    return found if isinstance(found, list) and found else [None]
