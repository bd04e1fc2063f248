"""Who may start where releases are limited: never too many, in order, and nobody for ever behind the others."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.rollout import line
from daemon.rollout import model as m
from daemon.rollout.line import Asker, Caps
from tests.unit.rollout.test_leave import frozen, refused, waits
from tests.unit.rollout.world import Version
from tests.unit.rollout.worlds import releasing, world

SPACES = ("bank", "lab", "shop", "till")


def asker(namespace: str, name: str = "web", since: float = 0.0) -> Asker:
    return Asker(namespace=namespace, name=name, since=since)


@st.composite
def queues(draw: st.DrawFn) -> tuple[list[Asker], dict[str, float], Counter[str], Caps]:
    """A line, when each namespace last had a turn, what runs, and caps, which may be below what runs."""
    keys = draw(st.sets(st.tuples(st.sampled_from(SPACES), st.sampled_from("abcdef")), max_size=12))
    askers = [asker(n, name, draw(st.integers(0, 5))) for n, name in sorted(keys)]
    served: dict[str, float] = {n: draw(st.integers(0, 5)) for n in SPACES if draw(st.booleans())}
    running = Counter({n: draw(st.integers(0, 3)) for n in SPACES})
    own = {n: draw(st.integers(0, 3)) for n in SPACES if draw(st.booleans())}
    return askers, served, running, Caps(cluster=draw(st.integers(0, 8)), namespace=draw(st.integers(0, 3)), own=own)


@given(queues())
def test_no_cap_is_passed_and_no_slot_stays_free(case: tuple[list[Asker], dict[str, float], Counter[str], Caps]) -> None:
    """Whoever is not let in stands before a cap that is reached."""
    askers, served, running, caps = case
    order = line.in_order(askers, served)
    found = line.admitted(order, running, caps)
    after = running + Counter(a.namespace for a in found)
    for namespace in {a.namespace for a in found}:
        assert not caps.of(namespace) or after[namespace] <= caps.of(namespace)
    assert not (caps.cluster and found) or after.total() <= caps.cluster
    for left in set(order) - set(found):
        cap = caps.of(left.namespace)
        assert (cap and after[left.namespace] >= cap) or (caps.cluster and after.total() >= caps.cluster)


@given(queues(), st.randoms(use_true_random=False))
def test_the_line_is_the_same_however_it_is_listed(case: tuple[list[Asker], dict[str, float], Counter[str], Caps], shuffled: Any) -> None:
    """Two daemons, or two passes, that see the same objects let the same release go."""
    askers, served, running, caps = case
    order = line.in_order(askers, served)
    again = list(askers)
    shuffled.shuffle(again)
    assert line.in_order(again, dict(reversed(served.items()))) == order
    assert sorted(order, key=lambda a: a.key) == sorted(askers, key=lambda a: a.key)
    assert [line.permit(a, order, running, caps).start for a in order] == [a in line.admitted(order, running, caps) for a in order]


@given(queues())
def test_within_a_namespace_the_first_who_asked_goes_first(case: tuple[list[Asker], dict[str, float], Counter[str], Caps]) -> None:
    """In the line, and among those who are let in."""
    askers, served, running, caps = case
    order = line.in_order(askers, served)
    found = line.admitted(order, running, caps)
    for namespace in SPACES:
        mine = [a for a in order if a.namespace == namespace]
        assert mine == sorted(mine, key=lambda a: (a.since, a.name))
        assert [a for a in found if a.namespace == namespace] == mine[: len([a for a in found if a.namespace == namespace])]


@given(st.lists(st.lists(st.sampled_from((*SPACES, "new")), max_size=4), min_size=40, max_size=40), st.integers(1, 3))
def test_no_namespace_keeps_another_waiting_for_more_than_one_release(arrivals: list[list[str]], slots: int) -> None:
    """Whatever arrives meanwhile, also from namespaces that are new: once first of its own, each other one goes before it once at most."""
    waiting: list[Asker] = []
    served: dict[str, float] = {}
    passed: dict[Asker, tuple[int, Counter[str]]] = {}
    for now, coming in enumerate(arrivals):
        waiting += [asker(f"new-{now}" if n == "new" else n, f"r{now:02}-{i}", now) for i, n in enumerate(coming)]
        going = line.admitted(line.in_order(waiting, served), {}, Caps(cluster=slots))
        for namespace in {a.namespace for a in waiting}:
            first = min((a for a in waiting if a.namespace == namespace), key=lambda a: (a.since, a.name))
            since, counts = passed.setdefault(first, (now, Counter()))
            if first not in going:
                counts.update(a.namespace for a in going)
            assert max(counts.values(), default=0) <= 1, (first, counts)
            assert not any(n.startswith("new-") and int(n[4:]) > since for n in counts), "one that came later went before it"
        for gone in going:
            waiting.remove(gone)
            served[gone.namespace] = now + 0.5


def test_one_release_of_a_small_team_does_not_wait_for_twenty_of_a_large_one() -> None:
    """It asked last and is second."""
    order = line.in_order([*(asker("shop", f"s{n:02}", n) for n in range(20)), asker("bank", "b", 99)], {})
    assert [a.name for a in order][:3] == ["s00", "b", "s01"]


def test_who_waits_for_its_own_namespace_lets_others_pass() -> None:
    """A slot of the cluster is not kept free for one who may not use it."""
    order = line.in_order([asker("shop", "a", 1), asker("bank", "b", 2)], {})
    assert [a.name for a in line.admitted(order, {"shop": 1}, Caps(cluster=2, own={"shop": 1}))] == ["b"]


@pytest.mark.parametrize(
    ("running", "caps", "said"),
    [
        ({"shop": 2, "till": 1}, Caps(cluster=3), "4th of 5 waiting; 3 of 3 releases are under way"),
        ({"shop": 1}, Caps(cluster=3, namespace=1), "3rd of 4 waiting in namespace shop; 1 of 1 releases of it are under way"),
        ({"till": 3}, Caps(cluster=3, namespace=1), "4th of 5 waiting; 3 of 3 releases are under way"),
        ({"bank": 1}, Caps(cluster=9, namespace=1), "3rd of 4 waiting in namespace shop; 0 of 1 releases of it are under way"),
    ],
)
def test_the_place_is_that_in_the_line_that_is_waited_in(running: dict[str, int], caps: Caps, said: str) -> None:
    """Of the namespace where its own cap is what is lacking; else of all."""
    order = line.in_order([*(asker("shop", n, 1) for n in "abcd"), asker("bank", "b", 2)], {})
    assert line.permit(asker("shop", "c", 1), order, running, caps).why == said


def test_places_are_said_as_people_say_them() -> None:
    """In the teens too."""
    order = line.in_order([asker("shop", f"{n:03}") for n in range(1, 123)], {})
    said = [line.permit(a, order, {"bank": 1}, Caps(cluster=1)).why.split()[0] for a in order]
    assert [said[n - 1] for n in (1, 2, 3, 4, 11, 12, 13, 21, 22, 111, 121)] == [
        *("1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "22nd", "111th", "121st")
    ]


# A release that is told to wait.

WAIT = line.withheld("2nd of 2 waiting; 1 of 1 releases are under way")
TURN = m.Permit(source=line.SOURCE, queue=True)


def test_a_release_waits_in_line_without_a_deadline_and_people_hear_of_it_once() -> None:
    """Its place counts from the first pass; a newer version has it too; with its turn it goes, and has no place any more."""
    w = world(Version("v2"), Version("v3"))
    w.permits = (WAIT,)
    w.apply("v2")
    w.turn()
    first = w.status.queued_since
    w.seconds(2 * 86400, step=3600)
    w.apply("v3")
    w.seconds(10)
    assert (w.phase, waits(w), w.status.queued_since) == ("Idle", "PermitQueue", first)
    assert len([t for t in w.told("Waiting") if "2nd of 2" in t]) == 1
    w.permits = (TURN,)
    w.turn()
    assert w.status.rollout is not None
    assert w.status.queued_since is None
    w.settle()
    assert w.status.stable_revision == "v3"


def test_a_freeze_is_said_first_and_the_place_is_kept_through_it() -> None:
    """Who is frozen has no slot, and says so; since when it asks is noted all the same."""
    w = world(Version("v2"))
    w.permits = (frozen(until=w.now + 3600), TURN)
    w.apply("v2")
    w.turn()
    first = w.status.queued_since
    assert first is not None
    assert waits(w) == "PermitFreeze"
    w.permits = (frozen(until=w.now + 3600), WAIT)
    w.seconds(60)
    assert waits(w) == "PermitFreeze"
    w.permits = (WAIT,)
    w.seconds(60)
    assert (waits(w), w.status.queued_since) == ("PermitQueue", first)


def test_a_release_that_is_withdrawn_leaves_the_line() -> None:
    """The stable version again: there is nothing to start."""
    w = world(Version("v2"))
    w.permits = (WAIT,)
    w.apply("v2")
    w.turn()
    w.apply("v1")
    w.seconds(5)
    assert w.status.queued_since is None
    assert waits(w) != "PermitQueue"


@pytest.mark.parametrize("verb", ["hotfix", "override"])
def test_a_hotfix_and_an_override_do_not_stand_in_line(verb: str) -> None:
    """Each with its reason, at once."""
    w = world(Version("v2"))
    w.permits = (WAIT,)
    w.apply("v2")
    w.seconds(5)
    w.say(verb)
    w.settle()
    assert w.status.stable_revision == "v2"


@pytest.mark.parametrize("end", ["abort", "bad", "revert"])
def test_a_line_never_stands_in_the_way_of_what_is_under_way(end: str) -> None:
    """Neither forward nor back: only starts wait."""
    w = releasing(Version("v2", judge="bad" if end == "bad" else "good")).reach("Progressing").seconds(5)
    w.permits = (WAIT,)
    w.turn()
    if end == "abort":
        w.say("abort")
    elif end == "revert":
        w.apply("v1")
    w.settle()
    assert w.status.stable_revision == "v1"
    w.as_found()


def test_a_retry_waits_for_its_turn_like_every_start() -> None:
    """It is refused with the place and the ways around, and is carried out when it is its turn."""
    w = releasing(Version("v2"), spec={"on_rollback": "Hold"}).reach("Progressing").seconds(5)
    w.say("abort")
    w.settle()
    w.permits = (WAIT,)
    w.say("retry")
    w.seconds(5)
    assert w.phase == "Held"
    assert "1 of 1 releases are under way; linnet promote --override" in refused(w)[0]
    w.permits = (TURN,)
    w.say("retry")
    w.seconds(2)
    assert w.status.rollout is not None


def test_an_undo_does_not_stand_in_line() -> None:
    """It is a way back: the version before is released again at once, though newer ones wait."""
    w = releasing(Version("v2")).settle()
    assert w.status.stable_revision == "v2"
    w.permits = (WAIT,)
    w.say("undo", to="v1")
    w.settle()
    assert w.status.stable_revision == "v1"
