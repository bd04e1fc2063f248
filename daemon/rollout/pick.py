"""Which requests reach the canary beside its weight: those of a `match` step, or the copies of a `mirror` step.

Such requests are no sample of everybody's, so they stand before the first weight, and arms are not compared while they are all that the
canary gets: its pods, templates and people can end the release, and nothing that was seen then counts for it.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from daemon.api.canary import Step

SAFE: Final = ("GET", "HEAD", "OPTIONS")  # what is sent twice changes nothing
COPIES: Final = "copies of"
ELSE: Final = "something else"  # what the words are where what is there is ours and not as any step wants it
Pairs = tuple[tuple[str, str], ...]


class Pick(msgspec.Struct, frozen=True, kw_only=True):
    """All conditions must hold; or a share of the requests of some methods is copied, and the answers are thrown away.

    No step asks for buckets: they are how a route writes the weight where the same users get a flag.
    """

    headers: Pairs = ()
    cookies: Pairs = ()
    query: Pairs = ()
    mirror: int = 0  # percent
    methods: tuple[str, ...] = ()
    buckets: int = 0  # the users in buckets 1 to this, as the header `by` says
    by: str = ""

    @property
    def words(self) -> str:
        """As people read it, and as the status remembers it."""
        if self.mirror:
            return f"{COPIES} {self.mirror} % of {_listed(self.methods)} requests"
        if self.buckets:
            return f"users in buckets 1 to {self.buckets} by header {self.by}"
        said = [f"header {n}: {v}" for n, v in self.headers]
        said += [f"cookie {n}={v}" for n, v in self.cookies]
        said += [f"query {n}={v}" for n, v in self.query]
        return f"requests with {_listed(said)}"


def words(pick: Pick | None) -> str:
    return pick.words if pick is not None else ""


def pick_of(step: Step) -> Pick | None:
    """What the step itself asks for; None where it asks for no such thing."""
    if step.match is not None:
        wanted = step.match
        return Pick(headers=_pairs(wanted.headers), cookies=_pairs(wanted.cookies), query=_pairs(wanted.query))
    if step.mirror is not None:
        return Pick(mirror=step.mirror.percent, methods=tuple(step.mirror.methods or SAFE))
    return None


def picks_of(steps: Sequence[Step]) -> tuple[Pick, ...]:
    """All that the steps ask for, each once."""
    return tuple(dict.fromkeys(p for p in map(pick_of, steps) if p is not None))


def _pairs(wanted: Mapping[str, str] | None) -> Pairs:
    return tuple(sorted((wanted or {}).items()))


def _listed(said: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(said[:-1]), said[-1])))
