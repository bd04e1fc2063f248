"""What every router must do, whatever kind of route it moves.

A router's own test makes a `Bench` (routes of its kind on the API server, and what a data plane would make of them) and gives it to
`RouterContract` as the fixture `bench`; all tests here then run on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
import pytest

from daemon.api.status import RestoreEntry
from daemon.kube.client import Client
from daemon.rollout.model import RouteView
from daemon.rollout.pick import ELSE, SAFE, Pick
from daemon.traffic.router import Router, RouterError, Scope
from tests.unit.control.cluster import Cluster

STABLE, CANARY = "web", "web-canary"
HEADER, COOKIE, QUERY, ALWAYS, COPIES, SOME = PICKS = (
    Pick(headers=(("x-group", "staff"),)),
    Pick(cookies=(("beta", "yes"),)),
    Pick(query=(("canary", "1"),)),
    Pick(cookies=(("beta", "always"),)),
    Pick(mirror=100, methods=SAFE),
    Pick(mirror=20, methods=("GET",)),
)


class Bench(Protocol):
    """Routes of one kind, as their owners write them. Every write is followed by a look of the cache, unless it is said to be unseen."""

    cluster: Cluster
    client: Client
    router: Router
    scope: Scope
    picks: tuple[Pick, ...]  # of `PICKS`, what routes of this kind can tell apart

    def write(self, *, both: bool = False, rules: int = 1, other: bool = False) -> None:
        """The owner's route: stable alone, or both backends (the canary's at weight 0); `other`: a rule that is none of ours besides."""
        ...

    def apply_again(self) -> None:
        """The owner's server-side apply of the same manifest; a conflict of owners is an error."""
        ...

    def edit_elsewhere(self) -> Any:
        """Somebody changes something that is not about backends, under a name of their own; what must stay is returned."""
        ...

    def elsewhere(self) -> Any:
        """That something as it is now."""
        ...

    def revert(self, manager: str) -> None:
        """Somebody takes our backend out (a GitOps tool that heals), under this manager's name."""
        ...

    def reorder(self) -> None:
        """Somebody puts another backend, or rule, before ours."""
        ...

    @property
    def most_rules(self) -> int:
        """How many rules of its own may name the Service: 2, or 1 where there is one list."""
        ...

    def split(self) -> list[dict[str, int]]:
        """Shares in percent by Service, for each rule, as a data plane computes them."""
        ...

    def state(self) -> Any:
        """Spec and owners, to be compared."""
        ...

    def version(self) -> str: ...

    def look(self) -> None:
        """The cache sees what the API server has now."""
        ...

    def delete(self) -> None: ...

    async def report(self, *, good: bool = True) -> None:
        """Every parent reports on the object as it is now."""
        ...


async def moved(bench: Bench, *weights: int) -> Sequence[RestoreEntry]:
    """The undo log is taken, then the weights are written one after the other."""
    undo = bench.router.record(bench.scope)
    for weight in weights:
        await bench.router.set_weight(bench.scope, weight)
    return undo


def view(bench: Bench, undo: Sequence[RestoreEntry] = ()) -> RouteView:
    found = bench.router.view(bench.scope, tuple(undo))
    assert found is not None
    return found


class RouterContract:
    """Inherit, and give a fixture `bench`."""

    async def test_a_route_at_rest_shows_no_weight(self, bench: Bench) -> None:
        """Before the first write there is nothing of ours in it, with one backend or with both in Git."""
        for both in (False, True):
            bench.write(both=both)
            assert view(bench).weight is None
            bench.delete()

    async def test_recording_writes_nothing(self, bench: Bench) -> None:
        """The undo log speaks of this route, and the route does not move by it."""
        bench.write()
        version = bench.version()
        undo = bench.router.record(bench.scope)
        assert {(e.kind, e.namespace, e.name) for e in undo} == {(bench.router.kind, bench.scope.namespace, bench.scope.name)}
        assert bench.version() == version

    async def test_attaching_at_zero_moves_no_request(self, bench: Bench) -> None:
        """The backend is in the route, and stable still gets everything."""
        bench.write()
        undo = await moved(bench, 0)
        assert view(bench, undo).weight == 0
        assert bench.split() == [{STABLE: 100, CANARY: 0}]

    @pytest.mark.parametrize("both", [False, True])
    async def test_a_weight_is_the_percentage_of_requests(self, bench: Bench, both: bool) -> None:
        """Up, down, all and none; the rest is always stable's."""
        bench.write(both=both)
        undo = await moved(bench, 0)
        for weight in (1, 5, 37, 100, 0):
            await bench.router.set_weight(bench.scope, weight)
            assert view(bench, undo).weight == weight
            assert bench.split() == [{STABLE: 100 - weight, CANARY: weight}]

    async def test_the_same_weight_again_writes_nothing(self, bench: Bench) -> None:
        """Idempotent: no write, so no reload of a gateway."""
        bench.write()
        await moved(bench, 25)
        version = bench.version()
        await bench.router.set_weight(bench.scope, 25)
        assert bench.version() == version

    @pytest.mark.parametrize("both", [False, True])
    @pytest.mark.parametrize("weights", [(), (0,), (0, 5, 50), (0, 100, 0)])
    async def test_restoring_leaves_no_trace(self, bench: Bench, both: bool, weights: tuple[int, ...]) -> None:
        """Spec and owners are what they were, the owner's next apply conflicts with nobody, and a second restore writes nothing."""
        bench.write(both=both)
        before = bench.state()
        undo = await moved(bench, *weights)
        await bench.router.restore(bench.scope, undo)
        assert bench.state() == before
        assert view(bench).weight is None
        version = bench.version()
        bench.look()
        await bench.router.restore(bench.scope, undo)
        assert bench.version() == version
        bench.apply_again()

    async def test_every_rule_of_the_service_moves_and_no_other(self, bench: Bench) -> None:
        """Two rules name the Service, a third does not."""
        bench.write(rules=2, other=True)
        before = bench.state()
        undo = await moved(bench, 0, 30)
        assert bench.split() == [{STABLE: 70, CANARY: 30}, {STABLE: 70, CANARY: 30}, {"other": 100}]
        assert view(bench, undo).weight == 30
        await bench.router.restore(bench.scope, undo)
        assert bench.state() == before

    async def test_what_others_changed_meanwhile_stays(self, bench: Bench) -> None:
        """A restore puts our leaves back, not the object."""
        bench.write(both=True)
        undo = await moved(bench, 0, 40)
        changed = bench.edit_elsewhere()
        await bench.router.restore(bench.scope, undo)
        assert bench.elsewhere() == changed
        assert bench.split()[0] == {STABLE: 100, CANARY: 0}

    async def test_a_backend_that_was_taken_out_is_seen_with_its_manager(self, bench: Bench) -> None:
        """Nothing is put back by looking; the restore that follows has nothing to undo."""
        bench.write()
        undo = await moved(bench, 0, 40)
        bench.revert("healer")
        found = view(bench, undo)
        assert found.weight is None
        assert found.manager == "healer"
        await bench.router.restore(bench.scope, undo)
        assert bench.split() == [{STABLE: 100}]

    @pytest.mark.parametrize("seen", [True, False])
    async def test_a_route_that_was_rearranged_is_never_written_blindly(self, bench: Bench, seen: bool) -> None:
        """Indexes that moved under a stale cache make a retryable error; once seen, the write goes to the right place."""
        bench.write(both=True)
        undo = await moved(bench, 0, 40)
        bench.reorder()
        if seen:
            bench.look()
        else:
            before = bench.state()
            for write in (bench.router.set_weight(bench.scope, 50), bench.router.restore(bench.scope, undo)):
                with pytest.raises(RouterError) as caught:
                    await write
                assert caught.value.retryable
            assert bench.state() == before
            bench.look()
        await bench.router.set_weight(bench.scope, 50)
        assert {STABLE: 50, CANARY: 50} in bench.split()
        await bench.router.restore(bench.scope, undo)
        assert {STABLE: 100, CANARY: 0} in bench.split(), "the canary's backend is in Git and stays there"

    async def test_a_route_that_was_rearranged_before_the_first_write_is_not_written_blindly(self, bench: Bench) -> None:
        """Nothing of ours is in it yet to tell the places by, and still the wrong backend gets no weight."""
        bench.write()
        bench.router.record(bench.scope)
        bench.reorder()
        before = bench.state()
        with pytest.raises(RouterError) as caught:
            await bench.router.set_weight(bench.scope, 0)
        assert caught.value.retryable
        assert bench.state() == before

    async def test_accepted_only_when_every_parent_speaks_of_this_generation(self, bench: Bench) -> None:
        """A report on an older generation, or a bad one, is no acceptance, and its words are shown."""
        bench.write()
        assert not view(bench).accepted
        await bench.report()
        assert view(bench).accepted
        undo = await moved(bench, 10)
        assert not view(bench, undo).accepted
        await bench.report(good=False)
        assert "Refused" in view(bench, undo).problem
        await bench.report()
        assert view(bench, undo).accepted

    async def test_what_is_picked_reaches_the_canary_and_leaves_no_trace(self, bench: Bench) -> None:
        """Beside weight 0, one write and none where it is so; a weight takes its place. What the kind cannot is refused by its name."""
        bench.write(rules=bench.most_rules, other=bench.most_rules > 1)
        await bench.report()
        before, split = bench.state(), bench.split()
        for pick in PICKS:
            bench.scope = scope = msgspec.structs.replace(bench.scope, picks=(pick,))
            problems = bench.router.problems(scope)
            if pick not in bench.picks:
                assert [p.reason for p in problems] == ["RouteCannotPick"]
                assert scope.route in problems[0].message or pick.words in problems[0].message
                assert problems[0].way_out
                continue
            assert problems == []
            undo = await moved(bench, 0)
            await bench.router.set_weight(scope, 0, pick)
            assert (view(bench, undo).weight, view(bench, undo).picked) == (0, pick.words)
            version = bench.version()
            await bench.router.set_weight(scope, 0, pick)
            assert bench.version() == version
            await bench.router.set_weight(scope, 10)
            assert (view(bench, undo).weight, view(bench, undo).picked) == (10, "")
            await bench.router.set_weight(scope, 0, pick)
            await bench.router.restore(scope, undo)
            assert (bench.state(), bench.split()) == (before, split), pick.words
            await bench.report()
        bench.apply_again()

    async def test_a_pick_that_was_taken_is_seen_with_its_manager(self, bench: Bench) -> None:
        """Nothing is put back by looking, and what somebody made of it is not taken for ours."""
        if not bench.picks:
            return
        pick = bench.picks[0]
        bench.scope = scope = msgspec.structs.replace(bench.scope, picks=(pick,))
        bench.write()
        undo = await moved(bench, 0)
        await bench.router.set_weight(scope, 0, pick)
        assert view(bench, undo).picked == pick.words
        others = msgspec.structs.replace(scope, picks=(Pick(headers=(("x-other", "1"),)),))
        found = bench.router.view(others, tuple(undo))
        assert found is not None and found.picked == ELSE
        bench.revert("healer")
        assert (view(bench, undo).picked, view(bench, undo).manager) == ("", "healer")
        await bench.router.restore(scope, undo)
        assert bench.split() == [{STABLE: 100}]

    async def test_a_route_that_is_gone(self, bench: Bench) -> None:
        """There is no view of it, writing says which one is missing, restoring has nothing to do."""
        bench.write()
        undo = await moved(bench, 10)
        bench.delete()
        assert bench.router.view(bench.scope, tuple(undo)) is None
        with pytest.raises(RouterError) as caught:
            await bench.router.set_weight(bench.scope, 20)
        assert bench.scope.name in str(caught.value)
        assert caught.value.reason == "RouteMissing"
        await bench.router.restore(bench.scope, undo)
