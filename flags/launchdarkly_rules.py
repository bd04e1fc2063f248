"""Our rules among those of people in a flag of LaunchDarkly: what they are, where they stand, who they reach. Pure.

Rules are tried in order and the first that matches decides. So ours stand after the rules of people, who keep what they decided, but before
the first that would decide for everybody whom we address; and among ours the larger share comes first, so that somebody who is in two of them
is in with the larger percent. All shares of a flag hash the same salt and key, so the larger contains the smaller.

Below 100 % a context that is anonymous has no share: its key is no person. Weights are in thousandths of a percent.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from flags.errors import Invalid
from flags.launchdarkly_api import Instructions
from flags.model import EVERYONE, Cohort, Desired, FlagRef, Gate

WORD = "linnet"
RELEASED = "released by linnet"
# Every context has a key, and none has our signature as its key: a clause that everybody meets, and that says whose the rule is.
_MARKING = "key"
_OURS = (_MARKING, "anonymous")
WHOLE = 100_000
_OPERATORS = {"IN": "in", "STR_STARTS_WITH": "startsWith", "STR_ENDS_WITH": "endsWith", "STR_CONTAINS": "contains"}
OPERATORS = tuple(_OPERATORS)
Clause = tuple[str, str, str, bool, tuple[str, ...]]


class Variations(msgspec.Struct, frozen=True, kw_only=True):
    """Ids and indices of true and false."""

    on: str
    off: str
    on_index: int
    off_index: int


class Arm(msgspec.Struct, frozen=True, kw_only=True):
    """One rule as it should be."""

    role: str
    percent: int
    clauses: tuple[Clause, ...]


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule as it is. `percent` is who of those it matches has the flag; None where that is no whole percentage."""

    id: str
    clauses: frozenset[Clause]
    description: str
    share: float
    whole: int | None

    @property
    def signature(self) -> str:
        """What our clause that everybody meets says; empty where a person made the rule."""
        found = (c[4][0] for c in self.clauses if c[1] == _MARKING and c[3] and len(c[4]) == 1)
        return next((text for text in found if text.startswith(f"{WORD} ")), "")

    @property
    def mark(self) -> str | None:
        """Who drives it; None where it is a person's, or was given up."""
        given_up = not self.signature or self.description.startswith(RELEASED)
        return None if given_up else self.signature.removeprefix(f"{WORD} ").rpartition("#")[0]

    @property
    def role(self) -> str:
        return self.signature.rpartition("#")[2]

    @property
    def conditions(self) -> tuple[Clause, ...]:
        """Its clauses but those that every rule of ours has."""
        return tuple(clause for clause in self.clauses if clause[1] not in _OURS)

    @property
    def called(self) -> str:
        return f"rule {self.description!r}" if self.description else f"rule {self.id}"


class View(msgspec.Struct, frozen=True, kw_only=True):
    """A flag in one environment, at one moment."""

    key: str
    where: str
    version: int
    on: bool
    rules: tuple[Rule, ...]
    otherwise: float
    variations: Variations
    foreign_digest: str

    @property
    def driven(self) -> tuple[Rule, ...]:
        return tuple(rule for rule in self.rules if rule.mark is not None)

    @property
    def foreign(self) -> tuple[Rule, ...]:
        return tuple(rule for rule in self.rules if rule.mark is None)

    def own(self, mark: str) -> tuple[Rule, ...]:
        return tuple(rule for rule in self.rules if rule.mark == mark)


class Original(msgspec.Struct, frozen=True, kw_only=True):
    """What the first write found: whether targeting was on, and what people had decided."""

    on: bool
    foreign: str


def view(found: Mapping[str, Any], flag: FlagRef, environment: str) -> View:
    """From the answer to a read or a patch."""
    config = (found.get("environments") or {}).get(environment)
    if config is None:
        raise Invalid(
            field="FlagSource.spec.launchDarkly.environment",
            value=environment,
            problem=f"flag {flag.key} is not in it",
            way_out="Use the key of an environment of the project.",
        )
    if found.get("archived") or config.get("archived"):
        raise Invalid(
            field=f"flags[{flag.key}]", value="archived", problem="its SDKs get no changes", way_out="Restore it in LaunchDarkly."
        )
    variations = _variations(found, flag)
    foreign = [rule for rule in config.get("rules") or [] if _rule(rule, variations).mark is None]
    kept = [foreign, config.get("fallthrough"), config.get("targets"), config.get("contextTargets"), config.get("offVariation")]
    return View(
        key=flag.key,
        where=f"environment {environment}",
        version=int(found.get("_version", 0)),
        on=bool(config.get("on")),
        rules=tuple(_rule(rule, variations) for rule in config.get("rules") or []),
        otherwise=_share(config.get("fallthrough") or {}, variations),
        variations=variations,
        foreign_digest=hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16],
    )


def arms(flag: FlagRef, desired: Desired, mark: str, kind: str) -> tuple[Arm, ...]:
    """What should be there, the larger share first."""
    gate = [] if desired.gate is None else [_clause(kind, desired.gate.attribute, "in", (desired.gate.value,))]
    found = [_arm(kind, mark, EVERYONE, desired.percent, gate)]
    for cohort in desired.cohorts:
        clauses = [*gate, *_conditions(flag, cohort, desired.gate, kind)]
        found.append(_arm(kind, mark, cohort.name, cohort.percent, clauses))
    return tuple(sorted(found, key=lambda arm: -arm.percent))


def covering(seen: View, arm: Arm) -> Rule | None:
    """The first rule of people that decides for all whom this arm addresses: what is behind it never matches."""
    return next((rule for rule in seen.foreign if rule.clauses <= _addressed(arm)), None)


def reach(seen: View, arm: Arm) -> float:
    """Percent of those whom the arm addresses who have the flag without us."""
    found = covering(seen, arm)
    return seen.otherwise if found is None else found.share


def adding(seen: View, arm: Arm) -> dict[str, Any]:
    """A rule that serves nobody yet, before what would hide it."""
    hiding = covering(seen, arm)
    before = {} if hiding is None else {"beforeRuleId": hiding.id}
    clauses = [{"contextKind": c[0], "attribute": c[1], "op": c[2], "negate": c[3], "values": _values(c)} for c in arm.clauses]
    return {"kind": "addRule", "clauses": clauses, "variationId": seen.variations.off, **before}


def serving(seen: View, rule: Rule, percent: int, kind: str) -> Instructions:
    """To this share, and described; nothing where it is so already."""
    found: Instructions = []
    described = f"{WORD} {rule.mark}#{rule.role}: {percent} %"
    if rule.whole != percent:
        found.append({"kind": "updateRuleVariationOrRollout", "ruleId": rule.id, **_served(seen.variations, percent, kind)})
    if rule.description != described:
        found.append({"kind": "updateRuleDescription", "ruleId": rule.id, "description": described})
    return found


def ordered(seen: View, wanted: Iterable[str]) -> Instructions:
    """Our rules in this order, together before the first rule of people that would hide one of them."""
    ours = [rule for identity in wanted for rule in seen.rules if rule.id == identity]
    others = [rule.id for rule in seen.rules if rule not in ours]
    hidden = [number for number, identity in enumerate(others) if _hides(seen, identity, ours)]
    at = min(hidden, default=len(others))
    order = [*others[:at], *(rule.id for rule in ours), *others[at:]]
    return [] if order == [rule.id for rule in seen.rules] else [{"kind": "reorderRules", "ruleIds": order}]


def original_of(seen: View) -> str:
    return msgspec.json.encode(Original(on=seen.on, foreign=seen.foreign_digest)).decode()


def original_from(flag: FlagRef, text: str) -> Original:
    try:
        return msgspec.json.decode(text, type=Original)
    except msgspec.DecodeError:
        field = f"status.flags[{flag.key}].original"
        raise Invalid(field=field, value=text, problem="it is no record of a flag of LaunchDarkly", way_out="Leave it as it is.") from None


def gate_of(rule: Rule) -> Gate | None:
    """Of the rule for everybody, the one clause that is a condition."""
    found = rule.conditions
    return Gate(attribute=found[0][1], value=found[0][4][0]) if len(found) == 1 and len(found[0][4]) == 1 else None


def _arm(kind: str, mark: str, role: str, percent: int, clauses: list[Clause]) -> Arm:
    signed: Clause = (kind, _MARKING, "in", True, (f"{WORD} {mark}#{role}",))
    # A rule of everything stays the same rule at every share but the last, where anonymous contexts come in.
    named = [] if percent == 100 else [(kind, "anonymous", "in", True, ("true",))]
    return Arm(role=role, percent=percent, clauses=(*clauses, signed, *named))


def _addressed(arm: Arm) -> frozenset[Clause]:
    return frozenset(arm.clauses)


def _conditions(flag: FlagRef, cohort: Cohort, gate: Gate | None, kind: str) -> list[Clause]:
    """Refuses what nobody can meet: the rule would be there, and never match."""
    field = f"flags[{flag.key}].cohorts[{cohort.name}]"
    possible: dict[str, set[str]] = {} if gate is None else {gate.attribute: {gate.value}}
    for item in cohort.constraints:
        if item.operator == "IN":
            left = possible.setdefault(item.attribute, set(item.values)) & set(item.values)
            if not left:
                raise Invalid(
                    field=f"{field}.constraints[{item.attribute}]",
                    value=", ".join(item.values),
                    problem="another condition on the same attribute leaves nobody, so the rule can never match",
                    way_out="Drop one of the two conditions.",
                )
            possible[item.attribute] = left
    return [_clause(kind, item.attribute, _OPERATORS[item.operator], item.values) for item in cohort.constraints]


def _clause(kind: str, attribute: str, operator: str, values: tuple[str, ...]) -> Clause:
    return (kind, attribute, operator, False, tuple(sorted(values)))


def _values(clause: Clause) -> list[Any]:
    return [True] if clause[1] == "anonymous" else list(clause[4])


def _hides(seen: View, identity: str, ours: list[Rule]) -> bool:
    rule = next(rule for rule in seen.rules if rule.id == identity)
    return any(rule.clauses <= own.clauses for own in ours)


def _served(variations: Variations, percent: int, kind: str) -> dict[str, Any]:
    if percent in (0, 100):
        return {"variationId": variations.on if percent else variations.off}
    weight = percent * (WHOLE // 100)
    return {"rolloutContextKind": kind, "rolloutWeights": {variations.on: weight, variations.off: WHOLE - weight}}


def _variations(found: Mapping[str, Any], flag: FlagRef) -> Variations:
    values = found.get("variations") or []
    on = [number for number, item in enumerate(values) if item.get("value") is True]
    off = [number for number, item in enumerate(values) if item.get("value") is False]
    if len(values) != 2 or len(on) != 1 or len(off) != 1:
        shown = ", ".join(str(item.get("value")) for item in values)
        problem = "only boolean flags are driven in this version"
        raise Invalid(field=f"flags[{flag.key}].variations", value=shown, problem=problem, way_out="Use a flag of true and false.")
    return Variations(on=values[on[0]]["_id"], off=values[off[0]]["_id"], on_index=on[0], off_index=off[0])


def _rule(rule: Mapping[str, Any], variations: Variations) -> Rule:
    share = _share(rule, variations)
    return Rule(
        id=str(rule["_id"]),
        clauses=frozenset(_found(clause) for clause in rule.get("clauses") or []),
        description=str(rule.get("description") or ""),
        share=share,
        whole=round(share) if share == round(share) else None,
    )


def _found(clause: Mapping[str, Any]) -> Clause:
    values = tuple(sorted(value if isinstance(value, str) else json.dumps(value) for value in clause.get("values") or []))
    return (
        str(clause.get("contextKind") or "user"),
        str(clause.get("attribute")),
        str(clause.get("op")),
        bool(clause.get("negate")),
        values,
    )


def _share(served: Mapping[str, Any], variations: Variations) -> float:
    if served.get("rollout"):
        weights = {item["variation"]: item["weight"] for item in served["rollout"]["variations"]}
        return float(weights.get(variations.on_index, 0)) / (WHOLE / 100)
    return 100.0 if served.get("variation") == variations.on_index else 0.0
