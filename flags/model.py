"""The words every flag provider speaks: which flag, what is wanted, what was found.

Values only, no I/O. Percentages are integers because that is what all providers agree on: fractions of a percent are
0 % in some SDKs and rounded in others.
"""

from typing import Literal

import msgspec

OnPromotion = Literal["Keep", "Open", "Remove", "HandOver"]

# What the share of everybody is called where cohorts are called by name.
EVERYONE = "all"


class FlagRef(msgspec.Struct, frozen=True, kw_only=True):
    """A flag of a source. `key` is the name at the provider, `source` the FlagSource's name as people know it."""

    key: str
    source: str


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """The Canary that drives a flag. The uid tells a recreated Canary from the one that took the flag."""

    cluster: str
    namespace: str
    name: str
    uid: str

    def mark(self) -> str:
        """How the owner is written beside the flag."""
        return f"{self.cluster}/{self.namespace}/{self.name}/{self.uid}"


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """Limits a flag to pods whose SDK context has this attribute at this value."""

    attribute: str = "track"
    value: str = "canary"


class Constraint(msgspec.Struct, frozen=True, kw_only=True):
    """A condition on the SDK's context: the attribute is one of the values (`IN`), or as another operator of the provider says."""

    attribute: str
    values: tuple[str, ...]
    operator: str = "IN"


class Cohort(msgspec.Struct, frozen=True, kw_only=True):
    """A named group with a percentage of its own: who meets all constraints and is in the provider's segment, where one is named."""

    name: str
    percent: int
    constraints: tuple[Constraint, ...] = ()
    segment: str | None = None


class Desired(msgspec.Struct, frozen=True, kw_only=True):
    """What a flag should be. Below 100 % the share is by targeting key and anonymous requests stay off; 100 % is every request.

    `group` is the group id of the bucket rule where a route goes by it as well; empty leaves it to the provider.
    """

    percent: int
    gate: Gate | None = None
    cohorts: tuple[Cohort, ...] = ()
    stickiness: str = "targetingKey"
    group: str = ""


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """What our rule for one cohort lets in; None where it is no plain percentage any more."""

    cohort: str
    percent: int | None


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What was found. `percent` and `gate` are our rule's for everyone (None: there is no rule of ours), `cohorts` those for cohorts.

    `original` is what `restore` would need if the flag were taken now; None once it is ours.
    """

    flag: FlagRef
    enabled: bool
    own: bool
    owner: str | None
    foreign: tuple[str, ...]
    revision: str
    percent: int | None
    gate: Gate | None
    written_by: str
    original: str | None = None
    cohorts: tuple[Share, ...] = ()


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """Outcome of a write. `original` is set by the write that first took the flag: keep it, `restore` needs it."""

    flag: FlagRef
    changed: bool
    percent: int
    revision: str
    at: float
    original: str | None = None
    exact: bool | None = None


class Converged(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """SDKs are taken to have the value."""

    revision: str


class Waiting(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Not before `until` (Unix seconds) can SDKs be taken to have the value."""

    until: float
    why: str


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """Which flags of a source changed since the last question. `cursor` is for the next one; `everything` where names cannot be told."""

    cursor: str
    flags: frozenset[str] = frozenset()
    everything: bool = False


class Evaluations(msgspec.Struct, frozen=True, kw_only=True):
    """How often SDKs of one app found a flag on and off in one hour, as far as they have reported."""

    app: str
    hour: str
    yes: int
    no: int


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider can do, so that validation can refuse a spec before the first write.

    `stickiness` are the words that every such source knows; with `context_fields` any field of the SDK's context may be named too.
    `operators` are those that constraints of cohorts may have, `segments` whether a cohort may be one of the provider's own. `buckets`: its
    SDKs choose people by the rule of `flags.buckets` and a group that we name, so that a route can choose the same.
    """

    name: str
    cohorts: bool
    gates: bool
    compare_and_set: bool
    witnessed: bool
    stickiness: tuple[str, ...]
    on_promotion: tuple[OnPromotion, ...]
    context_fields: bool = False
    operators: tuple[str, ...] = ()
    segments: bool = False
    buckets: bool = False


def settled(desired: Desired, on_promotion: OnPromotion) -> Desired | None:
    """What a gated flag becomes at promotion; None means that the flag is put back as it was found."""
    if on_promotion == "Remove":
        return None
    percent = 100 if on_promotion == "Open" else desired.percent
    return msgspec.structs.replace(desired, percent=percent, gate=None)
