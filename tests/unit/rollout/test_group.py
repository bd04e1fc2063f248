"""Release groups, the pure part: in random worlds no member is promoted before all are ready, and what ends leaves no half in motion."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.api.groups import GroupMember, ReleaseGroupSpec, ReleaseGroupStatus, group_faults, in_order
from daemon.rollout import group
from daemon.rollout.group import MemberView

NAMES = ("db", "api", "web")
CHAIN = ReleaseGroupSpec(
    members=[GroupMember(name="web", after=["api"]), GroupMember(name="api", after=["db"]), GroupMember(name="db")], gather="10s"
)
FLAT = ReleaseGroupSpec(members=[GroupMember(name=n) for n in NAMES], gather="10s")


class Play:
    """Canaries that do what their group lets them, one move of one of them at a time."""

    def __init__(self, spec: ReleaseGroupSpec = CHAIN) -> None:
        self.spec = spec
        self.status = ReleaseGroupStatus()
        self.now = 1_000_000.0
        self.views = {n: MemberView(stable="v1") for n in NAMES}
        self.story: list[str] = []

    def look(self) -> None:
        """The group's pass, written; until it holds still."""
        for _ in range(5):
            after = group.follow("shop", self.spec, self.status, self.views, self.now)
            if after == self.status:
                return
            self.status = after
        raise AssertionError(f"{self.status} does not hold still")

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.look()

    def ask(self, *names: str, revision: str = "v2") -> None:
        for name in names:
            self._set(name, asks=revision, waits="PermitGroup")

    def move(self, name: str, way: str = "on") -> None:
        """One step of a Canary: forward by leave, or `bad`; a way back that has begun goes on."""
        view = self.views[name]
        permit = group.permit("shop", self.status, name, running=view.running is not None)
        if view.returning:
            self._set(name, exposed=False) if view.exposed else self._rest(name)
        elif view.settled:
            self.views[name] = MemberView(stable=view.running)
        elif view.running and permit is not None and permit.must_abort:
            self._back(name, "its group")
        elif view.running and way == "bad":
            self._back(name, "errors")
        elif view.promoting:
            self._set(name, settled=True, stable=view.running)
        elif view.ready:
            if permit is None or permit.promote:
                self.story.append(f"promote {name}")
                self._set(name, promoting=True, ready=False)
        elif view.running:
            self._set(name, ready=True)
        elif view.asks and (permit is None or permit.start):
            self.story.append(f"start {name}")
            self._set(name, asks=None, waits="", running=view.asks, exposed=True)
        self.look()

    def _back(self, name: str, text: str) -> None:
        self.story.append(f"back {name}")
        self._set(name, returning=True, ready=False, promoting=False, text=text)

    def _rest(self, name: str) -> None:
        view = self.views[name]
        again = view.text == "its group"
        self.views[name] = MemberView(
            stable=view.stable, text=view.text, asks=view.running if again else None, waits="PermitGroup" if again else ""
        )

    def _set(self, name: str, **changes: object) -> None:
        self.views[name] = msgspec.structs.replace(self.views[name], **changes)

    def phase(self) -> str:
        return self.status.phase

    def states(self) -> dict[str, str]:
        return {m.name: m.state for m in self.status.members}

    def all_ready(self) -> Play:
        self.ask(*NAMES)
        self.look()
        for name in NAMES:
            self.move(name)
            self.move(name)
        return self


def test_versions_gather_and_start_in_order_and_are_promoted_in_order() -> None:
    """Nobody is promoted while another is undecided; each follows when the one before runs the new version."""
    play = Play()
    play.ask("web")
    play.look()
    assert play.phase() == "Gathering"
    assert "none yet of api, db" in play.status.sentence
    play.all_ready()
    assert play.story == ["start db", "start api", "start web"]
    assert play.phase() == "Promoting"
    for _ in range(6):
        for name in reversed(NAMES):
            play.move(name)
    assert play.story[3:] == ["promote db", "promote api", "promote web"]
    assert (play.phase(), play.status.progress) == ("Promoted", "3/3 promoted")


def test_after_the_gathering_time_those_that_asked_go_alone_and_the_next_wait() -> None:
    """What does not change takes no part; what comes late is of the next release, and says so."""
    play = Play(FLAT)
    play.ask("api")
    play.look()
    play.wait(10)
    assert play.states() == {"api": "Waiting"}
    play.move("api")
    play.ask("web")
    permit = group.permit("shop", play.status, "web", running=False)
    assert permit is not None
    assert not permit.start
    assert "has a release under way, this version is of the next" in permit.why


def test_with_start_all_a_release_waits_for_every_member() -> None:
    """However long: its owner wrote so."""
    play = Play(msgspec.structs.replace(FLAT, start="All"))
    play.ask("api", "web")
    play.look()
    play.wait(86400)
    assert play.phase() == "Gathering"
    assert group.again_in(play.spec, play.status, play.now) is None, "nothing is polled"
    play.ask("db")
    play.look()
    assert play.phase() == "Progressing"


def test_a_bad_member_takes_all_back_in_the_reverse_order() -> None:
    """The one before goes when nobody meets the one after it any more; the same versions start again only with another."""
    play = Play().all_ready()
    play.move("api", "bad")
    assert play.phase() == "RollingBack"
    play.move("db")
    assert "back db" not in play.story
    for name in ("web", "web", "api", "api", "db", "db", "db", "web"):
        play.move(name)
    assert play.story[-3:] == ["back api", "back web", "back db"]
    assert play.phase() == "RolledBack"
    assert play.states() == {"db": "Back", "api": "Failed", "web": "Back"}
    assert "api v2: errors" in play.status.sentence
    play.wait(3600)
    assert play.phase() == "RolledBack", "good versions do not start without the one that failed"
    play.ask("api", revision="v3")
    play.look()
    assert play.phase() == "Progressing"


def test_a_way_back_that_hangs_does_not_keep_the_others_exposed() -> None:
    """The order of the way back has its patience (promise P3)."""
    play = Play().all_ready()
    play.move("db", "bad")
    play.wait(2 * group.PATIENCE)
    assert {m.leave for m in play.status.members} == {"Return"}


def test_where_one_is_promoted_the_group_freezes_and_says_so() -> None:
    """Neither forward nor back for those under way, with the ways out for a person; then the next release may come."""
    play = Play().all_ready()
    for _ in range(2):
        play.move("db")
    play.move("api", "bad")
    assert play.phase() == "Frozen"
    assert "db v2 is promoted already and cannot go back by itself: linnet undo db; web v2 stays where it is" in play.status.sentence
    permit = group.permit("shop", play.status, "web", running=True)
    assert permit is not None
    assert not (permit.advance or permit.promote or permit.must_abort)


def test_what_has_no_canary_any_more_takes_the_others_back() -> None:
    """A member that is deleted in mid-release is none that was promoted."""
    play = Play().all_ready()
    del play.views["web"]
    play.look()
    assert play.phase() == "RollingBack"
    assert "web v2: its Canary was deleted" in play.status.sentence


def test_a_group_has_an_end() -> None:
    """What is not promoted by the deadline goes back (promise P6)."""
    play = Play()
    play.ask(*NAMES)
    play.look()
    play.move("db")
    play.wait(86400)
    assert play.phase() == "RollingBack"
    assert "in the group's time" in play.status.sentence


def test_a_newer_version_of_a_member_stays_in_the_release() -> None:
    """The others wait at the barrier for it."""
    play = Play(FLAT).all_ready()
    play.move("db")
    play = Play(FLAT)
    play.ask(*NAMES)
    play.look()
    play.move("db")
    play._set("db", returning=True, restarts=True)
    play.look()
    assert play.phase() == "Progressing"
    play.views["db"] = MemberView(stable="v1", asks="v3", restarts=True, waits="PermitGroup")
    play.look()
    play.move("db")
    assert play.views["db"].running == "v3"
    assert play.phase() == "Progressing"


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([CHAIN, FLAT]), st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(["on", "on", "on", "bad"])), max_size=30))
def test_in_random_worlds_the_barrier_holds_and_every_abort_ends_back_or_frozen(
    spec: ReleaseGroupSpec, moves: list[tuple[str, str]]
) -> None:
    """Whatever happens in whatever order, with the group's memory read anew from JSON at each look."""
    play = Play(spec)
    play.ask(*NAMES)
    play.look()
    for name, way in moves:
        undecided = {n for n, v in play.views.items() if v.running and not (v.ready or v.promoting or v.settled)}
        told = len(play.story)
        play.status = msgspec.json.decode(msgspec.json.encode(play.status), type=ReleaseGroupStatus)
        play.move(name, way)
        if play.story[told:] == [f"promote {name}"]:
            assert not undecided, play.story
            assert all(v.running or v.stable == "v2" for v in play.views.values()), play.story
    for _ in range(15):
        for name in NAMES:
            play.move(name)
        play.wait(5)
    new = {n for n, v in play.views.items() if v.stable == "v2"}
    assert play.phase() in ("Promoted", "RolledBack", "Frozen"), (play.status, play.story)
    assert (play.phase() == "Promoted") == (new == set(NAMES)), play.story
    assert (play.phase() == "RolledBack") == (not new), play.story
    if play.phase() == "RolledBack":
        assert not any(v.running for v in play.views.values())


def test_orders_that_cannot_be_are_named() -> None:
    """With the field and the way out."""
    around = ReleaseGroupSpec(members=[GroupMember(name="a", after=["b"]), GroupMember(name="b", after=["a"])])
    fault = next(iter(group_faults(around, "spec")))
    assert fault.path == "spec.members[0].after"
    assert "a, b wait for each other in a cycle" in fault.message
    alone = ReleaseGroupSpec(members=[GroupMember(name="a", after=["x"])])
    assert [f.path for f in group_faults(alone, "spec")] == ["spec.members[0].after[0]"]
    assert [m.name for m in in_order(CHAIN.members)] == ["db", "api", "web"]
