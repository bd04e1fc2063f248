"""Who is in a share: the bucket rule of gradual rollouts, as the Unleash SDKs compute it.

One rule for flag, witness and route is what makes "the same users" mean something: a user's bucket depends on the group and the id alone,
so a growing percent only adds users, and two shares of one group overlap instead of adding up.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import mmh3

BUCKETS: Final = 100


def bucket(group: str, identity: str) -> int:
    """1..100: murmur3 of `group:identity`, seed 0."""
    return mmh3.hash(f"{group}:{identity}", 0, signed=False) % BUCKETS + 1


def within(group: str, identity: str, percent: int) -> bool:
    """Whether this id is among the first `percent` buckets."""
    return percent > 0 and bucket(group, identity) <= percent


def share(group: str, identities: Iterable[str], percent: int) -> set[str]:
    """Those of the ids that are in."""
    return {identity for identity in identities if within(group, identity, percent)}


def pattern(percent: int) -> str:
    """The regular expression for the decimals of the first `percent` buckets, 1..99: what a gateway can ask of a header."""
    if not 0 < percent < BUCKETS:
        raise ValueError(f"{percent} buckets of {BUCKETS} need no pattern: that is nobody, or everybody")
    return f"^({'|'.join(_parts(percent))})$"


def _parts(percent: int) -> Iterator[str]:
    tens, units = divmod(percent, 10)
    yield _digits(1, 9 if tens else units)
    if tens > 1:
        yield f"{_digits(1, tens - 1)}[0-9]"
    if tens:
        yield f"{tens}{_digits(0, units)}"


def _digits(first: int, last: int) -> str:
    return str(first) if first == last else f"[{first}-{last}]"


# How a route that is found says how many buckets it takes.
PATTERNS: Final[Mapping[str, int]] = {pattern(percent): percent for percent in range(1, BUCKETS)}
