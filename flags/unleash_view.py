"""A flag of Unleash in one environment as we read it, and which of its strategies are whose. Pure.

A strategy is ours when its title begins with our word *and* its parameters carry our mark: a title alone could be anybody's. The mark also
carries the percent that we wrote last, so that one look tells whether a person changed it since. Everything else is foreign: read to know
how far the flag reaches without us, never written.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from flags.errors import Invalid
from flags.model import Constraint, Evaluations, FlagRef

WORD = "linnet"
RELEASED = "released"
# Strategies that reach named people or machines only.
_LISTS = ("userWithId", "remoteAddress", "applicationHostname")

Condition = tuple[str, str, tuple[str, ...], bool, bool]


class Strategy(msgspec.Struct, frozen=True, kw_only=True):
    """One strategy of an environment."""

    id: str = ""
    name: str = ""
    title: str | None = None
    disabled: bool | None = False
    parameters: dict[str, str] = {}
    constraints: list[dict[str, Any]] = []
    segments: list[int] = []
    variants: list[dict[str, Any]] = []
    milestone: str | None = msgspec.field(default=None, name="milestoneId")

    @property
    def mark(self) -> str | None:
        """Who drives it; None where it is foreign or given up."""
        written = self.parameters.get(WORD)
        if written is None or written == RELEASED or not self.titled:
            return None
        return written.rpartition("@")[0]

    @property
    def titled(self) -> bool:
        return (self.title or "").startswith(f"{WORD} ")

    @property
    def given_up(self) -> bool:
        """Ours once, nobody's now, and reaching nobody: it may be taken again."""
        return self.titled and self.parameters.get(WORD) == RELEASED and self.parameters.get("rollout") == "0"

    @property
    def written(self) -> str:
        """The percent that Linnet wrote last."""
        return self.parameters.get(WORD, "").rpartition("@")[2]

    @property
    def role(self) -> str:
        """The cohort it is for, or `all`."""
        return (self.title or "").rpartition("#")[2]

    @property
    def percent(self) -> int | None:
        """Its rollout; None where it is no plain number, which SDKs read differently."""
        text = self.parameters.get("rollout", "")
        return int(text) if text.isascii() and text.isdigit() and int(text) <= 100 else None

    @property
    def conditions(self) -> frozenset[Condition]:
        return frozenset(condition(item) for item in self.constraints)

    @property
    def called(self) -> str:
        """How people find it."""
        return f"strategy {self.title!r}" if self.title else f"strategy {self.name} ({self.id})"

    @property
    def reach(self) -> int:
        """Percent of those who meet its constraints; lists of people count as nobody, what we do not know as nobody too."""
        if self.disabled or self.name in _LISTS:
            return 0
        if self.name == "default":
            return 100
        text = self.parameters.get("rollout", self.parameters.get("percentage", "0"))
        try:
            # SDKs disagree about fractions; the widest reading is the one to fear.
            return min(100, max(0, -int(-float(text) // 1)))
        except (ValueError, OverflowError):
            return 0


class View(msgspec.Struct, frozen=True, kw_only=True):
    """A flag in one environment, at one moment."""

    key: str
    where: str
    enabled: bool
    strategies: tuple[Strategy, ...]

    @property
    def driven(self) -> tuple[Strategy, ...]:
        """Strategies that some Canary drives."""
        return tuple(s for s in self.strategies if s.mark is not None)

    @property
    def foreign(self) -> tuple[Strategy, ...]:
        return tuple(s for s in self.strategies if s.mark is None and not s.given_up)

    def own(self, mark: str) -> tuple[Strategy, ...]:
        """Ours, oldest first: ids are ordered by time."""
        return tuple(sorted((s for s in self.strategies if s.mark == mark), key=lambda s: s.id))

    @property
    def revision(self) -> str:
        return digest([self.enabled, [msgspec.to_builtins(s) for s in self.strategies]])

    @property
    def foreign_digest(self) -> str:
        ordered = sorted(self.foreign, key=lambda s: s.id)
        return digest([msgspec.structs.asdict(msgspec.structs.replace(s, milestone=None)) for s in ordered])


class Original(msgspec.Struct, frozen=True, kw_only=True):
    """What the first write found: whether the environment was on, and which strategies others had."""

    environment: bool
    foreign: str


def view(feature: dict[str, Any], flag: FlagRef, environment: str) -> View:
    """From the answer to `GET feature`. Invalid where the flag is not in this environment."""
    found = {str(item.get("name")): item for item in feature.get("environments") or []}
    if environment not in found:
        there = ", ".join(sorted(found)) or "none"
        raise Invalid(
            field="FlagSource.spec.unleash.environment",
            value=environment,
            problem=f"flag {flag.key} is not in it",
            way_out=f"Flag {flag.key} is in: {there}.",
        )
    chosen = found[environment]
    strategies = msgspec.convert(chosen.get("strategies") or [], tuple[Strategy, ...])
    where = f"project {feature.get('project')}, environment {environment}"
    return View(key=flag.key, where=where, enabled=bool(chosen.get("enabled")), strategies=strategies)


def original_of(seen: View) -> str:
    return msgspec.json.encode(Original(environment=seen.enabled, foreign=seen.foreign_digest)).decode()


def original_from(flag: FlagRef, text: str) -> Original:
    try:
        return msgspec.json.decode(text, type=Original)
    except msgspec.DecodeError:
        raise Invalid(
            field=f"status.flags[{flag.key}].original",
            value=text,
            problem="it is no record of a flag of Unleash",
            way_out="Leave it as it is.",
        ) from None


def condition(item: dict[str, Any]) -> Condition:
    """A constraint without what Unleash leaves out or orders as it likes."""
    values = item.get("values") or ([item["value"]] if item.get("value") else [])
    name, operator = str(item.get("contextName")), str(item.get("operator"))
    return (name, operator, tuple(sorted(map(str, values))), bool(item.get("inverted")), bool(item.get("caseInsensitive")))


def constraint(wanted: Constraint) -> dict[str, Any]:
    """Complete: what is left out is wiped by a PUT of somebody's."""
    single = not wanted.operator.startswith(("IN", "NOT_IN", "STR_"))
    values: dict[str, Any] = {"value": wanted.values[0], "values": []} if single else {"values": list(wanted.values)}
    return {"contextName": wanted.attribute, "operator": wanted.operator, "inverted": False, "caseInsensitive": False, **values}


def evaluations(rows: Iterable[dict[str, Any]], environment: str) -> Iterator[Evaluations]:
    """Rows of usage metrics; those without a count stand for combinations that nobody reported."""
    for row in rows:
        yes, no = int(row.get("yes") or 0), int(row.get("no") or 0)
        if row.get("environment") == environment and (yes or no):
            yield Evaluations(app=str(row.get("appName") or "?"), hour=str(row.get("timestamp")), yes=yes, no=no)


def spare_for(role: str, spare: Sequence[Strategy], lacking: Collection[str]) -> Strategy | None:
    """One that had this very part before, else one that no lacking part had: the server lists them in no order of ours."""
    same = (s for s in spare if s.role == role)
    return next(same, None) or next((s for s in spare if s.role not in lacking), None)


def title_for(namespace: str, name: str, role: str) -> str:
    return f"{WORD} {namespace}/{name}#{role}"


def combined(strategies: Sequence[Strategy], group: str) -> int:
    """Percent whom at least one of these lets in: strategies are OR-ed. One group overlaps, others meet by chance."""
    same = max((s.reach for s in strategies if s.parameters.get("groupId") == group), default=0)
    left = (100 - same) / 100
    for other in strategies:
        if other.parameters.get("groupId") != group:
            left *= (100 - other.reach) / 100
    return round(100 * (1 - left))


def digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
