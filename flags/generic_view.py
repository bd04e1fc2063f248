"""A flag service of one's own, as its FlagSource describes it, and one flag of it as it was read. Pure.

What a service can do is what its templates say: a gate, cohorts or a revision that no template sends and no pointer reads do not exist.
An owner there must be: without it two clusters would move one flag, and a Canary made anew would not know its own.
"""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from flags import generic_templates as templates
from flags.errors import Invalid
from flags.model import Capabilities, Cohort, Constraint, Desired, FlagRef, Gate

FIELD = "FlagSource.spec.http"
OPERATORS = (
    *("IN", "NOT_IN", "STR_STARTS_WITH", "STR_ENDS_WITH", "STR_CONTAINS", "NUM_EQ", "NUM_GT", "NUM_GTE", "NUM_LT", "NUM_LTE"),
    *("DATE_AFTER", "DATE_BEFORE", "SEMVER_EQ", "SEMVER_GT", "SEMVER_LT"),
)


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """Where a flag is read, and JSON pointers to what is in the answer."""

    path: str
    percent: str
    owner: str
    gate: str | None = None
    cohorts: str | None = None
    enabled: str | None = None
    revision: str | None = None
    changed_by: str | None = None


class Writing(msgspec.Struct, frozen=True, kw_only=True):
    """A request that changes a flag."""

    path: str
    body: str
    method: Literal["PUT", "POST", "PATCH"] = "PUT"


class GenericSource(msgspec.Struct, frozen=True, kw_only=True):
    """`conditional` says how a write is refused that somebody else was faster than: by If-Match, or by a revision in the body."""

    url: str
    read: Reading
    set: Writing
    zero: Writing | None = None
    headers: dict[str, str] = {}
    conditional: Literal["ETag", "Revision", "None"] = "None"
    settle: float = 30.0

    def __repr__(self) -> str:
        # Among the headers is the login.
        return f"GenericSource(url={self.url!r})"

    @property
    def base(self) -> str:
        return self.url.rstrip("/")


class View(msgspec.Struct, frozen=True, kw_only=True):
    """A flag as it was read. `now` is None where its share is no whole percentage."""

    key: str
    enabled: bool
    owner: str
    now: Desired | None
    found: Any
    revision: str
    tag: str | None
    changed_by: str


class Original(msgspec.Struct, frozen=True, kw_only=True):
    """What was there before the first write."""

    percent: int
    gate: str | None = None
    cohorts: list[dict[str, Any]] = []


def checked(source: GenericSource) -> Capabilities:
    """What the templates make possible. Invalid where they cannot work."""
    for name, writing in _writings(source):
        templates.path(f"{FIELD}.{name}.path", writing.path)
        templates.body(f"{FIELD}.{name}.body", writing.body)
    templates.path(f"{FIELD}.read.path", source.read.path)
    words = templates.words_of(source.set.path, source.set.body)
    for needed, why in (("percent", "no share could be set"), ("owner", "nobody could tell whose flag it is")):
        if needed not in words:
            _refuse(
                "set.body", source.set.body, f"it has no {{{{{needed}}}}}, so {why}", f'Put "{{{{{needed}}}}}" where the service takes it.'
            )
    if "flag" not in templates.words_of(source.read.path) or "flag" not in words:
        _refuse("set.path", source.set.path, "no {{flag}} says which flag is meant", "Put {{flag}} into the paths of read and set.")
    gates, cohorts = _both("gate", source.read.gate, words), _both("cohorts", source.read.cohorts, words)
    _conditional(source, words)
    return Capabilities(
        name="http",
        cohorts=cohorts,
        gates=gates,
        compare_and_set=source.conditional != "None",
        witnessed=False,
        stickiness=("targetingKey",),
        on_promotion=("Keep", "Open", "Remove", "HandOver"),
        operators=OPERATORS if cohorts else (),
        segments=cohorts,
    )


def view(source: GenericSource, flag: FlagRef, document: Any, headers: Mapping[str, str]) -> View:
    """From the answer to the read."""
    read = source.read
    owner = templates.at(document, read.owner)
    revision = templates.at(document, read.revision) if read.revision else None
    tag = next((value for name, value in headers.items() if name.lower() == "etag"), None)
    if source.conditional == "ETag" and not tag:
        _refuse("conditional", "ETag", f"the answer for flag {flag.key} has no ETag", "Use Revision or None, or let the service send one.")
    if templates.at(document, read.percent) is None:
        problem = f"there is nothing at it in the answer for flag {flag.key}"
        _refuse("read.percent", read.percent, problem, "Give the JSON pointer to the share, such as /rollout/percent.")
    return View(
        key=flag.key,
        enabled=read.enabled is None or bool(templates.at(document, read.enabled)),
        owner=owner if isinstance(owner, str) else "",
        now=_desired(read, document),
        found=templates.at(document, read.percent),
        revision=str(revision if revision is not None else tag or ""),
        tag=tag,
        changed_by=str(templates.at(document, read.changed_by) or "somebody") if read.changed_by else "somebody",
    )


def values(seen: View, desired: Desired, owner: str) -> dict[str, Any]:
    """What fills the holes."""
    return {
        "flag": seen.key,
        "percent": desired.percent,
        "gate": desired.gate.value if desired.gate else None,
        "cohorts": [plain(cohort) for cohort in desired.cohorts],
        "owner": owner,
        "revision": seen.revision,
    }


def plain(cohort: Cohort) -> dict[str, Any]:
    """A cohort in Linnet's words: what `{{cohorts}}` is a list of."""
    return {
        "name": cohort.name,
        "percent": cohort.percent,
        "segment": cohort.segment,
        "constraints": [{"attribute": c.attribute, "operator": c.operator, "values": list(c.values)} for c in cohort.constraints],
    }


def original_of(seen: View) -> str:
    now = seen.now or Desired(percent=0)
    gate = now.gate.value if now.gate else None
    found = Original(percent=now.percent, gate=gate, cohorts=[plain(cohort) for cohort in now.cohorts])
    return msgspec.json.encode(found).decode()


def original_from(flag: FlagRef, text: str) -> Desired:
    try:
        found = msgspec.json.decode(text, type=Original)
    except msgspec.DecodeError:
        field = f"status.flags[{flag.key}].original"
        raise Invalid(field=field, value=text, problem="it is no record of a flag behind HTTP", way_out="Leave it as it is.") from None
    cohorts = tuple(cohort for item in found.cohorts if (cohort := _cohort(item)) is not None)
    return Desired(percent=found.percent, gate=Gate(value=found.gate) if found.gate else None, cohorts=cohorts)


def _writings(source: GenericSource) -> list[tuple[str, Writing]]:
    return [("set", source.set), *([("zero", source.zero)] if source.zero is not None else [])]


def _both(word: str, pointer: str | None, words: frozenset[str]) -> bool:
    """What is sent must be read back, else nobody would see a person's hand."""
    if (word in words) != (pointer is not None):
        given, missing = (f"set.body has {{{{{word}}}}}", f"read.{word}") if word in words else (f"read.{word} is there", f"{{{{{word}}}}}")
        _refuse(f"read.{word}", pointer, f"{given}, and {missing} is not", "Give both, or neither.")
    return pointer is not None


def _conditional(source: GenericSource, words: frozenset[str]) -> None:
    if source.conditional == "Revision" and (source.read.revision is None or "revision" not in words):
        way_out = "Give read.revision, and put {{revision}} into set."
        _refuse("conditional", "Revision", "read.revision or {{revision}} is missing", way_out)


def _desired(read: Reading, document: Any) -> Desired | None:
    percent = templates.at(document, read.percent)
    if isinstance(percent, float) and percent.is_integer():
        percent = int(percent)
    if isinstance(percent, bool) or not isinstance(percent, int) or not 0 <= percent <= 100:
        return None
    gate = templates.at(document, read.gate) if read.gate else None
    listed = templates.at(document, read.cohorts) if read.cohorts else None
    cohorts = [_cohort(item) for item in listed or []]
    if any(cohort is None for cohort in cohorts):
        return None
    return Desired(
        percent=percent, gate=Gate(value=str(gate)) if gate else None, cohorts=tuple(cohort for cohort in cohorts if cohort is not None)
    )


def _cohort(item: Any) -> Cohort | None:
    try:
        found = msgspec.convert(item, _Cohort)
    except msgspec.ValidationError:
        return None
    constraints = tuple(Constraint(attribute=c.attribute, operator=c.operator, values=tuple(c.values)) for c in found.constraints)
    return Cohort(name=found.name, percent=found.percent, segment=found.segment, constraints=constraints)


class _Cohort(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    percent: int
    segment: str | None = None
    constraints: list[Constraint] = []


def _refuse(name: str, value: object, problem: str, way_out: str) -> None:
    raise Invalid(field=f"{FIELD}.{name}", value=value, problem=problem, way_out=way_out)
