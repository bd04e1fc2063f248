"""Steps that pick requests for the canary: matched ones, or copies. They come before any weight, and are no evidence."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.api.canary import Approval, Dwell, Step, StepMatch, StepMirror
from daemon.rollout import model as m
from daemon.rollout.pick import picks_of
from tests.unit.rollout.world import Version, World
from tests.unit.rollout.worlds import DWELL, releasing

STAFF = Step(name="staff", match=StepMatch(headers={"x-group": "staff"}), dwell=Dwell(min_duration="5m"))
COPIES = Step(name="copies", mirror=StepMirror(percent=50), dwell=Dwell(min_duration="5m"))
HALF = Step(name="half", weight=50, dwell=DWELL)
WORDS = "requests with header x-group: staff"


def picking(*steps: Step, version: Version | None = None, **changes: Any) -> World:
    return releasing(version, spec={"steps": [*(steps or (STAFF,)), HALF]}, **changes)


def exposed(w: World) -> World:
    """The pick is written, taken by the gateway, and its time runs."""
    return w.run(lambda w: w.status.waiting is not None and w.status.waiting.reason == "Dwell")


def test_matched_requests_reach_the_canary_for_their_time_and_then_the_weight_takes_their_place() -> None:
    """Weight 0 for everybody else; nobody is judged by it; and it ends with its step, while the pods of the next one start."""
    w = exposed(picking())
    rollout = w.status.rollout
    assert rollout is not None
    assert [(r.weight, r.picked) for r in w.routes] == [(0, WORDS)]
    assert (rollout.judge_from, rollout.deadline_at) == (None, None)
    assert rollout.picked_from is not None
    assert w.status.routes[0].observed_pick == WORDS
    assert any(WORDS in said for said in w.told("Step"))
    began = w.now
    w.run(lambda w: w.weight == 50)
    assert w.now - began >= 299
    assert [r.picked for r in w.routes] == [""]
    written = [a for a in w.acted if isinstance(a, m.SetWeight)]
    assert [(a.weight, a.pick is not None) for a in written] == [(0, False), (0, True), (0, False), (50, False)]
    w.settle()
    assert w.status.stable_revision == "v2"
    w.as_found()


def test_ready_pods_come_before_the_match() -> None:
    """P2: a canary whose pods do not start never gets a request, and one whose pods die loses them at once."""
    w = picking(version=Version("v2", starts=False))
    w.seconds(120)
    assert not [a for a in w.acted if isinstance(a, m.SetWeight) and a.pick is not None]
    w = exposed(picking())
    w.canaries["v2"].available = 0
    w.capacity = 0
    w.turn()
    assert [(r.weight, r.picked) for r in w.routes] == [(0, "")]
    w.capacity = 1_000
    exposed(w)
    assert [r.picked for r in w.routes] == [WORDS]


def test_a_copy_of_half_the_requests_has_pods_for_half() -> None:
    """As a weight of 50 would have, before the first copy."""
    w = exposed(picking(COPIES, replicas=8))
    assert w.canaries["v2"].available == 4
    assert w.routes[0].picked == "copies of 50 % of GET, HEAD and OPTIONS requests"


def test_what_is_picked_stays_through_the_steps_that_expose_nobody_else() -> None:
    """People sign off what they use; then the weight."""
    w = picking(STAFF, Step(name="sign-off", approval=Approval(timeout="1h")))
    w.run(lambda w: w.status.waiting is not None and w.status.waiting.reason == "Approval")
    assert [r.picked for r in w.routes] == [WORDS]
    w.say("approve")
    w.run(lambda w: w.weight == 50)
    assert [r.picked for r in w.routes] == [""]


def test_an_abort_takes_the_match_away_before_anything_else() -> None:
    """P3: in the pass of the verb; and the sentence says whom it reached, not a percentage."""
    w = exposed(picking())
    w.say("abort")
    assert m.SetWeight(weight=0) in w.turn().actions, "the exposure ends first, before the route is put back"
    w.turn()
    assert [r.picked for r in w.routes] == [""]
    assert "v2" in w.canaries, "the pods outlive the exposure"
    w.settle()
    assert f" at {WORDS}: " in w.status.sentence
    w.as_found()


def test_copies_are_never_told_as_harm_to_people() -> None:
    """Nobody got an answer of the canary's, and the sentence says so."""
    w = exposed(picking(COPIES))
    w.versions["v2"].fatal = True
    w.canaries["v2"].available = 0
    w.settle()
    assert "whose answers nobody got" in w.status.sentence
    assert "saw it" not in w.status.sentence


@pytest.mark.parametrize("left", ["", "something else"])
def test_a_match_that_somebody_took_is_seen_and_not_fought_over(left: str) -> None:
    """P8: nothing is written back, people are told by whom, and a resume writes it again."""
    w = exposed(picking())
    w.routes[0].picked, w.routes[0].manager = left, "argocd"
    w.acted.clear()
    w.seconds(30)
    assert not [a for a in w.acted if isinstance(a, m.SetWeight)]
    assert w.status.waiting is not None and w.status.waiting.reason == "RouteTakenBack"
    assert "argocd changed who reaches the canary" in w.told("TakenBack")[0]
    w.say("resume")
    exposed(w)
    assert [r.picked for r in w.routes] == [WORDS]


@pytest.mark.parametrize("after", range(3))
def test_a_daemon_that_dies_in_the_middle_goes_on_where_it_was(after: int) -> None:
    """P5: whichever write was the last one, nobody is told of a taking, and the release ends as ever."""
    w = picking()
    w.run(lambda w: w.status.rollout is not None and w.status.phase == "Progressing")
    w.crash_after = after
    exposed(w)
    w.crash_after = -1
    w.settle()
    assert not w.told("TakenBack")
    assert w.status.stable_revision == "v2"


def test_a_weight_cannot_be_set_within_such_a_step() -> None:
    """It has none; the next step has."""
    w = exposed(picking())
    w.say("set-weight", weight=20)
    w.turn()
    assert "linnet skip checkout goes on" in w.told("CommandRefused")[0]
    assert w.weight == 0


def test_a_newer_version_ends_the_match_of_the_older() -> None:
    """P4: the older pods keep nobody's requests."""
    w = exposed(picking())
    w.versions["v3"] = Version("v3")
    w.apply("v3")
    w.run(lambda w: w.status.rollout is not None and w.status.rollout.revision == "v3")
    assert not w.told("RolledBack")
    w.settle()
    assert w.status.stable_revision == "v3"
    w.as_found()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (StepMatch(headers={"a": "1"}), StepMatch(headers={"a": "2"})),
        (StepMatch(cookies={"a": "1"}), StepMatch(cookies={"b": "1"})),
        (StepMatch(query={"a": "1"}), StepMatch(headers={"a": "1"})),
        (StepMirror(percent=1), StepMirror(percent=2)),
        (StepMirror(percent=1), StepMirror(percent=1, methods=["GET"])),
    ],
)
def test_a_field_changed_alone_changes_what_reaches_the_canary(one: Any, other: Any) -> None:
    """Nothing is accepted and ignored."""

    def reached(wanted: Any) -> str:
        dwell = Dwell(min_duration="1m")
        step = Step(dwell=dwell, match=wanted) if isinstance(wanted, StepMatch) else Step(dwell=dwell, mirror=wanted)
        return exposed(picking(step)).routes[0].picked

    assert reached(one) != reached(other)


def test_each_pick_is_known_once() -> None:
    """A route asks for what its steps may want, whatever their number."""
    assert [p.words for p in picks_of([STAFF, HALF, STAFF, COPIES])] == [WORDS, "copies of 50 % of GET, HEAD and OPTIONS requests"]
