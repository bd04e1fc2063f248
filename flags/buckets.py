"""Who is in a share: the bucket rule of gradual rollouts, as the Unleash SDKs compute it.

One rule for flag, witness and route is what makes "the same users" mean something: a user's bucket depends on the group and the id alone,
so a growing percent only adds users, and two shares of one group overlap instead of adding up.
"""

from collections.abc import Iterable

import mmh3

BUCKETS = 100


def bucket(group: str, identity: str) -> int:
    """1..100: murmur3 of `group:identity`, seed 0."""
    return mmh3.hash(f"{group}:{identity}", 0, signed=False) % BUCKETS + 1


def within(group: str, identity: str, percent: int) -> bool:
    """Whether this id is among the first `percent` buckets."""
    return percent > 0 and bucket(group, identity) <= percent


def share(group: str, identities: Iterable[str], percent: int) -> set[str]:
    """Those of the ids that are in."""
    return {identity for identity in identities if within(group, identity, percent)}
