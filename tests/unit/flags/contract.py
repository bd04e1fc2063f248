"""What every flag provider must do. A provider's tests subclass `ProviderContract` and give a `world`.

The outcome is always asked of the flag system's own evaluation, never of the document we wrote.
"""

from collections.abc import Awaitable, Callable
from math import sqrt
from typing import Protocol

import pytest

from flags.errors import Busy, Drifted, Exposed, Invalid, Missing
from flags.model import Cohort, Constraint, Converged, Desired, FlagRef, Gate, Waiting
from flags.provider import FlagProvider

GATE = Gate()
IDS = tuple(f"user-{number}" for number in range(5000))
SOME = IDS[:1000]


class World(Protocol):
    """A flag system with one flag that is off for everybody, and the people around it."""

    provider: FlagProvider
    rival: FlagProvider
    flag: FlagRef
    now: float
    settle: float

    def on(self, ids: tuple[str, ...], track: str | None, **properties: str) -> set[str]:
        """Which of the ids have the flag on pods of this track, by the system's own evaluation; `properties` are the user's own."""
        ...

    def on_anonymous(self, track: str | None) -> bool: ...
    def snapshot(self) -> bytes: ...
    def person_sets(self, percent: int) -> None: ...
    def person_disables(self) -> None: ...
    def person_opens_for_all(self) -> None: ...
    def person_edits_another_flag(self) -> None: ...
    def another_flag_edited(self) -> bool: ...
    def calls(self) -> int: ...
    def race(self, write: Callable[[], Awaitable[None]]) -> None: ...
    def hang(self) -> None: ...


def gated(percent: int) -> Desired:
    return Desired(percent=percent, gate=GATE)


def beta(percent: int) -> Cohort:
    return Cohort(name="beta", percent=percent, constraints=(Constraint(attribute="tier", values=("beta",)),))


class ProviderContract:
    """Run by subclasses; `world` comes from them."""

    @pytest.mark.parametrize("percent", [1, 10, 50, 100])
    async def test_the_share_of_ids_is_the_percent_within_tolerance(self, world: World, percent: int) -> None:
        """5,000 ids give the wanted percent within five standard errors: the group id, and so the buckets, are others in each run."""
        await world.provider.apply(world.flag, gated(percent), None)
        share = 100 * len(world.on(IDS, "canary")) / len(IDS)
        assert abs(share - percent) <= 5 * sqrt(percent * (100 - percent) / len(IDS))

    async def test_users_who_have_the_flag_keep_it_when_the_percent_rises(self, world: World) -> None:
        """Each step's users are a superset of the step's before."""
        before: set[str] = set()
        last = None
        for percent in (1, 5, 10, 25, 50, 99, 100):
            await world.provider.apply(world.flag, gated(percent), last)
            after = world.on(IDS, "canary")
            assert before <= after
            before, last = after, gated(percent)
        assert len(before) == len(IDS)

    @pytest.mark.parametrize("track", ["stable", "", None])
    async def test_a_gated_flag_is_off_outside_the_canary(self, world: World, track: str | None) -> None:
        """No percent reaches a pod that is not the canary's, or that was never told its track."""
        await world.provider.apply(world.flag, gated(100), None)
        assert world.on(IDS[:200], track) == set()

    @pytest.mark.parametrize("percent", [0, 1, 50, 99])
    async def test_anonymous_requests_stay_off_below_one_hundred_percent(self, world: World, percent: int) -> None:
        """Without an id there is no share to be in, so the flag fails closed instead of switching everybody together."""
        await world.provider.apply(world.flag, gated(percent), None)
        assert not world.on_anonymous("canary")

    async def test_one_hundred_percent_is_every_request_of_the_canary(self, world: World) -> None:
        """A service that knows no users can still be released with its flag."""
        await world.provider.apply(world.flag, gated(100), None)
        assert world.on_anonymous("canary")
        assert not world.on_anonymous("stable")

    @pytest.mark.parametrize("percent", [-1, 101])
    async def test_a_percent_out_of_range_is_refused_by_name(self, world: World, percent: int) -> None:
        """The error names field, value and way out, and nothing is written."""
        before = world.snapshot()
        with pytest.raises(Invalid, match=f"percent is {percent}.*Use an integer from 0 to 100"):
            await world.provider.apply(world.flag, gated(percent), None)
        assert world.snapshot() == before

    async def test_a_cohort_has_a_share_of_its_own_and_nobody_else_does(self, world: World) -> None:
        """Beta first: none of the others is in, and on no other pod; a provider without cohorts says so instead of dropping them."""
        desired = Desired(percent=0, gate=GATE, cohorts=(beta(50),))
        if not world.provider.capabilities.cohorts:
            with pytest.raises(Invalid, match="beta"):
                await world.provider.apply(world.flag, desired, None)
            return
        await world.provider.apply(world.flag, desired, None)
        assert world.on(SOME, "canary") == world.on(SOME, "canary", tier="free") == world.on(IDS[:200], "stable", tier="beta") == set()
        assert abs(100 * len(world.on(SOME, "canary", tier="beta")) / len(SOME) - 50) <= 4
        assert [(share.cohort, share.percent) for share in (await world.provider.read(world.flag)).cohorts] == [("beta", 50)]

    async def test_a_cohort_and_everybody_overlap_to_the_larger_share(self, world: World) -> None:
        """One throw for both: beta 50 and all 10 is 50 % of beta, not 55; and growing takes the flag from nobody."""
        if not world.provider.capabilities.cohorts:
            return
        only = Desired(percent=0, gate=GATE, cohorts=(beta(50),))
        await world.provider.apply(world.flag, only, None)
        first = world.on(SOME, "canary", tier="beta")
        both = Desired(percent=10, gate=GATE, cohorts=(beta(50),))
        await world.provider.apply(world.flag, both, only)
        assert world.on(SOME, "canary", tier="beta") == first
        assert world.on(SOME, "canary", tier="free") < first
        assert not (await world.provider.apply(world.flag, both, both)).changed

    async def test_zero_and_restore_take_cohorts_back_too(self, world: World) -> None:
        """Nobody is left in a branch of their own."""
        if not world.provider.capabilities.cohorts:
            return
        before = world.snapshot()
        original = (await world.provider.apply(world.flag, Desired(percent=1, gate=GATE, cohorts=(beta(100),)), None)).original or ""
        await world.provider.zero(world.flag)
        assert world.on(SOME, "canary", tier="beta") == set()
        await world.provider.restore(world.flag, original)
        assert world.snapshot() == before

    async def test_a_stickiness_that_is_not_known_is_refused_by_name(self, world: World) -> None:
        """Field, value and way out, before anything is written."""
        before = world.snapshot()
        with pytest.raises(Invalid, match=r"stickiness is 'shoe-size'"):
            await world.provider.apply(world.flag, Desired(percent=5, gate=GATE, stickiness="shoe-size"), None)
        assert world.snapshot() == before

    async def test_a_missing_flag_is_reported_with_its_key(self, world: World) -> None:
        """The message names what was looked for."""
        with pytest.raises(Missing, match="no-such-flag"):
            await world.provider.apply(FlagRef(key="no-such-flag", source="s"), gated(1), None)

    async def test_check_says_what_apply_would_say_and_writes_nothing(self, world: World) -> None:
        """Before a release: the flag is there and free, or the same refusal as at the first write."""
        before = world.snapshot()
        await world.provider.check(world.flag, gated(5))
        with pytest.raises(Missing, match="no-such-flag"):
            await world.provider.check(FlagRef(key="no-such-flag", source="s"), gated(5))
        with pytest.raises(Invalid, match="percent is 101"):
            await world.provider.check(world.flag, gated(101))
        assert world.snapshot() == before
        world.person_opens_for_all()
        with pytest.raises(Exposed):
            await world.provider.check(world.flag, gated(5))

    async def test_check_refuses_the_second_canary_and_passes_the_first(self, world: World) -> None:
        """After a crash the flag is ours already, and that is no reason not to go on."""
        await world.provider.apply(world.flag, gated(5), None)
        await world.provider.check(world.flag, gated(5))
        with pytest.raises(Busy):
            await world.rival.check(world.flag, gated(5))

    async def test_the_same_write_twice_changes_nothing(self, world: World) -> None:
        """After a crash the caller repeats its last call, with or without a note of the one before."""
        await world.provider.apply(world.flag, gated(5), None)
        before = world.snapshot()
        for expected in (None, gated(5)):
            assert not (await world.provider.apply(world.flag, gated(5), expected)).changed
        assert world.snapshot() == before

    async def test_a_write_whose_note_was_lost_is_adopted(self, world: World) -> None:
        """Killed after the write and before the note of it: the same step again is no drift."""
        await world.provider.apply(world.flag, gated(5), None)
        await world.provider.apply(world.flag, gated(10), gated(5))
        assert not (await world.provider.apply(world.flag, gated(10), gated(5))).changed

    async def test_restore_gives_every_byte_back(self, world: World) -> None:
        """After a rollback the source is what it was."""
        before = world.snapshot()
        original = (await world.provider.read(world.flag)).original
        assert original is not None
        taken = await world.provider.apply(world.flag, gated(5), None)
        assert taken.original == original
        await world.provider.apply(world.flag, gated(50), gated(5))
        await world.provider.zero(world.flag)
        result = await world.provider.restore(world.flag, original)
        assert world.snapshot() == before
        assert result.exact

    async def test_restore_may_be_repeated(self, world: World) -> None:
        """A second restore finds nothing to do."""
        original = (await world.provider.apply(world.flag, gated(5), None)).original or ""
        await world.provider.restore(world.flag, original)
        before = world.snapshot()
        assert not (await world.provider.restore(world.flag, original)).changed
        assert world.snapshot() == before

    async def test_restore_keeps_what_people_wrote_meanwhile(self, world: World) -> None:
        """Putting a saved copy back would undo an edit of another flag."""
        original = (await world.provider.apply(world.flag, gated(5), None)).original or ""
        world.person_edits_another_flag()
        await world.provider.restore(world.flag, original)
        assert world.another_flag_edited()
        assert world.on(IDS[:200], "canary") == set()

    async def test_zero_takes_the_flag_from_everybody_in_at_most_two_calls(self, world: World) -> None:
        """The brake is short and does not ask."""
        await world.provider.apply(world.flag, gated(100), None)
        before = world.calls()
        await world.provider.zero(world.flag)
        assert world.calls() - before <= 2
        assert world.on(IDS, "canary") == set()
        assert not world.on_anonymous("canary")

    async def test_zero_works_whatever_people_did_and_again(self, world: World) -> None:
        """It needs no expectation, and a second one changes nothing."""
        await world.provider.apply(world.flag, gated(10), None)
        world.person_sets(60)
        await world.provider.zero(world.flag)
        assert world.on(IDS, "canary") == set()
        assert not (await world.provider.zero(world.flag)).changed

    async def test_zero_of_a_flag_never_taken_writes_nothing(self, world: World) -> None:
        """Nothing of ours there is nothing to take back."""
        before = world.snapshot()
        assert not (await world.provider.zero(world.flag)).changed
        assert world.snapshot() == before

    @pytest.mark.parametrize(("percent", "direction"), [(3, "lower"), (40, "higher")])
    async def test_a_percent_changed_by_a_person_is_drift_and_stays(self, world: World, percent: int, direction: str) -> None:
        """Nothing is overwritten, and the error says which way and who."""
        await world.provider.apply(world.flag, gated(10), None)
        world.person_sets(percent)
        before = world.snapshot()
        with pytest.raises(Drifted) as caught:
            await world.provider.apply(world.flag, gated(50), gated(10))
        assert (caught.value.direction, world.snapshot()) == (direction, before)
        with pytest.raises(Drifted):
            await world.provider.verify(world.flag, gated(10), world.now)

    async def test_a_person_who_disables_the_flag_pulled_the_brake(self, world: World) -> None:
        """Off at the source is lower than anything we set."""
        await world.provider.apply(world.flag, gated(10), None)
        world.person_disables()
        with pytest.raises(Drifted) as caught:
            await world.provider.apply(world.flag, gated(50), gated(10))
        assert caught.value.direction == "lower"

    async def test_a_person_who_opens_the_flag_for_all_is_noticed(self, world: World) -> None:
        """Wider than we set: the samples compare nothing any more."""
        await world.provider.apply(world.flag, gated(10), None)
        world.person_opens_for_all()
        with pytest.raises(Drifted) as caught:
            await world.provider.verify(world.flag, gated(10), world.now)
        assert caught.value.direction == "higher"

    async def test_an_edit_between_our_read_and_our_write_is_not_overwritten(self, world: World) -> None:
        """Compare-and-set: the second look sees the person's value and stops."""
        await world.provider.apply(world.flag, gated(10), None)

        async def write() -> None:
            world.person_sets(3)

        world.race(write)
        with pytest.raises(Drifted):
            await world.provider.apply(world.flag, gated(50), gated(10))
        # Without compare-and-set the other hand is noticed only by the answer; what it lowered is never raised all the same.
        left = (await world.provider.read(world.flag)).percent
        assert left == 3 if world.provider.capabilities.compare_and_set else left == 0

    async def test_a_flag_that_is_on_for_everybody_is_refused(self, world: World) -> None:
        """A canary of it would prove nothing."""
        world.person_opens_for_all()
        before = world.snapshot()
        with pytest.raises(Exposed):
            await world.provider.apply(world.flag, gated(10), None)
        assert world.snapshot() == before

    async def test_a_flag_kept_open_by_a_promotion_is_not_gated_again(self, world: World) -> None:
        """The next release must not take the flag from the users who have it."""
        await world.provider.apply(world.flag, gated(50), None)
        await world.provider.apply(world.flag, Desired(percent=50), gated(50))
        await world.provider.release(world.flag)
        with pytest.raises(Exposed, match="50 %"):
            await world.provider.apply(world.flag, gated(5), None)

    async def test_a_second_canary_is_refused_and_changes_nothing(self, world: World) -> None:
        """One writer per flag, also for the brake and the restore."""
        original = (await world.provider.apply(world.flag, gated(10), None)).original or ""
        before = world.snapshot()
        for call in (
            world.rival.apply(world.flag, gated(20), None),
            world.rival.zero(world.flag),
            world.rival.restore(world.flag, original),
            world.rival.release(world.flag),
        ):
            with pytest.raises(Busy, match="shop/checkout"):
                await call
        assert world.snapshot() == before

    async def test_a_released_flag_may_be_taken_by_the_next_canary(self, world: World) -> None:
        """After restore nobody owns it."""
        original = (await world.provider.apply(world.flag, gated(10), None)).original or ""
        await world.provider.restore(world.flag, original)
        assert (await world.rival.apply(world.flag, gated(20), None)).changed

    async def test_swapping_the_gate_away_keeps_the_same_users(self, world: World) -> None:
        """At promotion the users who had the flag on the canary have it everywhere, and no others."""
        await world.provider.apply(world.flag, gated(25), None)
        before = world.on(IDS, "canary")
        await world.provider.apply(world.flag, Desired(percent=25), gated(25))
        assert world.on(IDS, None) == before == world.on(IDS, "stable")

    async def test_open_reaches_everybody(self, world: World) -> None:
        """100 % without a gate includes anonymous requests."""
        await world.provider.apply(world.flag, gated(25), None)
        await world.provider.apply(world.flag, Desired(percent=100), gated(25))
        assert world.on(IDS[:200], None) == set(IDS[:200])
        assert world.on_anonymous(None)

    async def test_a_write_is_seen_only_after_it_settled(self, world: World) -> None:
        """Before that, verify says until when to wait."""
        written = await world.provider.apply(world.flag, gated(10), None)
        answer = await world.provider.verify(world.flag, gated(10), written.at)
        if world.settle:
            assert isinstance(answer, Waiting)
            assert answer.until == written.at + world.settle
            world.now += world.settle
        assert isinstance(await world.provider.verify(world.flag, gated(10), written.at), Converged)

    async def test_state_says_what_is_there(self, world: World) -> None:
        """Percent, gate and ownership come back as written."""
        assert (await world.provider.read(world.flag)).percent is None
        await world.provider.apply(world.flag, gated(10), None)
        state = await world.provider.read(world.flag)
        assert (state.percent, state.gate, state.own, state.enabled, state.foreign) == (10, GATE, True, True, ())
        assert not (await world.rival.read(world.flag)).own
