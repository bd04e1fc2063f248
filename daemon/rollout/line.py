"""Who may start where only so many releases may be under way at once: one line, in which every namespace has its turn.

Within a namespace the first who asked goes first. Of several namespaces that one goes first which waits the longest, counted from when its
first one asked or, if that is later, from when it last had a turn: so no namespace keeps another waiting for more than one release of its
own, however many it has in line, and neither does one that is new. A release that is under way keeps its slot until it has ended:
half-way there are two versions of a service, and to stop it there for the sake of another one would only make that last longer.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from daemon.rollout.model import Permit

SOURCE: Final = "Queue"
MOST: Final = 1000  # what a cap may be


class Caps(msgspec.Struct, frozen=True, kw_only=True):
    """Releases at once; 0 is no cap."""

    cluster: int = 0
    namespace: int = 0  # of each that has none of its own
    own: Mapping[str, int] = {}

    def of(self, namespace: str) -> int:
        return self.own.get(namespace, self.namespace)


class Asker(msgspec.Struct, frozen=True, kw_only=True):
    """A release that could start but for the others."""

    namespace: str
    name: str
    since: float  # when it first asked

    @property
    def key(self) -> tuple[str, str]:
        return self.namespace, self.name


def in_order(askers: Iterable[Asker], served: Mapping[str, float]) -> tuple[Asker, ...]:
    """The line. `served` is when each namespace last started a release."""
    waiting: dict[str, list[Asker]] = defaultdict(list)
    for asker in sorted(askers, key=lambda a: (a.since, a.name)):
        waiting[asker.namespace].append(asker)
    turns = sorted(waiting, key=lambda n: (max(waiting[n][0].since, served.get(n, waiting[n][0].since)), n))
    rounds = max(map(len, waiting.values()), default=0)
    return tuple(waiting[n][r] for r in range(rounds) for n in turns if r < len(waiting[n]))


def admitted(line: Sequence[Asker], running: Mapping[str, int], caps: Caps) -> tuple[Asker, ...]:
    """Those of the line that may start beside what runs already, by namespace. Who waits for its own namespace lets others pass."""
    counts, free = Counter(running), caps.cluster - sum(running.values())
    found = []
    for asker in line:
        cap = caps.of(asker.namespace)
        if (caps.cluster and free <= 0) or (cap and counts[asker.namespace] >= cap):
            continue
        counts[asker.namespace] += 1
        free -= 1
        found.append(asker)
    return tuple(found)


def permit(me: Asker, line: Sequence[Asker], running: Mapping[str, int], caps: Caps) -> Permit:
    """Leave for one of the line, or its place in it. Leave that is given is said too: who waits for something else notes since when."""
    if me in admitted(line, running, caps):
        return Permit(source=SOURCE, queue=True)
    mine = [a for a in line if a.namespace == me.namespace]
    cap, here, everywhere = caps.of(me.namespace), running.get(me.namespace, 0), sum(running.values())
    full = caps.cluster and everywhere >= caps.cluster
    if cap and (here >= cap or (not full and here + mine.index(me) >= cap)):
        place = (
            f"{_nth(mine.index(me) + 1)} of {len(mine)} waiting in namespace {me.namespace}; {here} of {cap} releases of it are under way"
        )
    else:
        place = f"{_nth(line.index(me) + 1)} of {len(line)} waiting; {everywhere} of {caps.cluster} releases are under way"
    return withheld(place)


def withheld(why: str) -> Permit:
    return Permit(source=SOURCE, queue=True, start=False, owned=True, why=why)


def _nth(number: int) -> str:
    teen = 10 < number % 100 < 20
    return f"{number}{'th' if teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"
