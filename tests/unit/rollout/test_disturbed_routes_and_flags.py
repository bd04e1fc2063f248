"""Routes and flags that others move, or that do not answer, while a release depends on them."""

from __future__ import annotations

from math import inf

import pytest

from daemon.rollout import model as m
from tests.unit.rollout.places import placed
from tests.unit.rollout.world import Version
from tests.unit.rollout.worlds import flagged, releasing, two_flags, world


def test_a_route_taken_back_is_reported_and_not_fought_over() -> None:
    """P8: one event with the manager's name, no write, then a person resumes or the deadline ends it."""
    w = placed("Progressing")
    w.routes[0].weight, w.routes[0].manager = None, "argocd"
    before = len(w.acted)
    w.seconds(60)
    assert not [a for a in w.acted[before:] if isinstance(a, m.SetWeight)]
    assert len(w.told("TakenBack")) == 1
    assert "argocd" in w.told("TakenBack")[0]
    assert w.status.rollout is not None
    assert w.status.rollout.exposed_at is None
    w.say("resume")
    w.seconds(3)
    assert w.weight == 50
    w.taken(0, "argocd")
    w.settle()
    assert w.status.history[0].outcome == "RolledBack"


def test_a_route_taken_back_while_our_write_is_not_yet_accepted_is_noticed_too() -> None:
    """A manager that reverts faster than the gateway accepts is not fought for ten minutes."""
    w = releasing().reach("Progressing", step=0)
    w.routes[0].accepts = False
    w.seconds(2)
    w.routes[0].weight, w.routes[0].manager = None, "flux"
    before = len(w.acted)
    w.seconds(30)
    assert not [a for a in w.acted[before:] if isinstance(a, m.SetWeight)]
    assert w.told("TakenBack")


def test_a_route_taken_back_during_promotion_is_left_alone() -> None:
    """Stable is sized for everything: the roll goes on without our share."""
    w = placed("Rolling", hpa=None)
    w.routes[0].weight, w.routes[0].manager = 0, "argocd"
    before = len(w.acted)
    w.turn()
    assert not [a for a in w.acted[before:] if isinstance(a, m.SetWeight) and a.weight]
    w.settle()
    assert w.status.stable_revision == "v2"


@pytest.mark.parametrize("kind", ["lower", "higher"])
def test_a_flag_moved_by_hand_stops_the_release(kind: str) -> None:
    """Lower: a person pulled the brake, at once. Higher: hold, say so, and end at the deadline."""
    w = placed("Progressing")
    w.flags[0].drift, w.flags[0].seen = kind, True
    w.turn()
    if kind == "lower":
        assert w.phase == "RollingBack"
    else:
        assert w.status.waiting is not None
        assert w.status.waiting.reason == "FlagRaised"
    w.settle()
    assert w.status.history[0].outcome == "RolledBack"
    w.as_found()


def test_a_flag_that_is_seen_late_delays_the_step_and_its_samples() -> None:
    """The dwell of a step begins when the pods have the flag."""
    w = world(Version("v2"), spec=flagged())
    w.flags[0].settles = 90.0
    w.apply("v2")
    w.reach("Progressing")
    began = w.now
    w.run(lambda w: w.status.rollout is not None and w.status.rollout.exposed_at is not None)
    assert w.now - began >= 90
    w.settle()
    assert w.status.stable_revision == "v2"


def test_a_flag_that_is_never_seen_ends_at_the_progress_deadline() -> None:
    """Nothing is judged by an exposure that never was."""
    w = world(Version("v2"), spec=flagged())
    w.flags[0].settles = inf
    w.apply("v2")
    w.run(lambda w: w.phase == "RollingBack")
    assert w.status.rollout is not None
    assert w.status.rollout.rollback_reason == "FlagTimeout"
    w.settle()
    w.as_found()


def test_a_flag_that_is_open_to_everyone_is_left_alone() -> None:
    """Nothing to gate: it is not written, not waited for, not restored, and the start says so."""
    w = world(Version("v2"), spec=flagged())
    w.flags[0].open, w.flags[0].settles = True, inf
    w.apply("v2")
    w.settle()
    assert w.status.stable_revision == "v2"
    touched = m.SetFlag | m.FinishFlag | m.ZeroFlags | m.RestoreFlags | m.ReleaseFlags
    assert not [a for a in w.acted if isinstance(a, touched)]
    assert "flag new-checkout is open to everyone already" in " ".join(w.told("Started") + w.told("Step"))


def test_a_flag_that_turns_out_to_be_open_is_not_said_to_be_moved() -> None:
    """Found at the first write, or by a daemon that forgot it: no message and no column claims a share of ours."""
    w = world(Version("v2"), spec=flagged())
    w.broken = {m.SetFlag}  # refused by the source
    w.apply("v2")
    w.run(lambda w: w.status.waiting is not None and w.status.waiting.reason == "FlagSettling")
    w.flags[0].open = True
    w.settle()
    assert w.status.stable_revision == "v2"
    assert "at 100 %" not in " ".join(w.told("Step"))
    assert "new-checkout" not in w.status.sentence


def test_an_abort_does_not_wait_for_a_flag_source_that_is_down() -> None:
    """The weight goes at once; after five seconds the rest goes on; the flag is tried until it is back."""
    w = placed("Progressing")
    w.flags[0].error = "connection refused"
    w.say("abort")
    decision = w.turn()
    assert {m.SetWeight(weight=0), m.ZeroFlags(names=("new-checkout",))} <= set(decision.actions)
    w.run(lambda w: not w.canaries)
    assert w.flags[0].percent == 100
    assert "Flag new-checkout is not back at 0 yet: connection refused." in w.status.sentence
    w.flags[0].error = ""
    w.settle()
    assert w.flags[0].percent is None


def test_a_flag_that_was_never_written_has_no_way_back() -> None:
    """Its source did not answer, so nothing was written: the abort does not wait for it, and does not speak of it."""
    w = world(Version("v2"), spec=flagged())
    w.flags[0].error = "connection refused"
    w.apply("v2")
    w.run(lambda w: w.status.waiting is not None and w.status.waiting.reason == "FlagSettling")
    w.say("abort")
    w.run(lambda w: w.status.rollout is None)
    assert not [a for a in w.acted if isinstance(a, m.SetFlag | m.ZeroFlags | m.RestoreFlags)]
    assert "new-checkout" not in w.status.sentence
    assert not [wait for wait in w.waits if wait.startswith("FlagRoll")]


def test_a_flag_that_may_have_been_written_is_taken_back_all_the_same() -> None:
    """The daemon dies after the write and before it saw it, and the source is away: what was meant is what is undone."""
    w = world(Version("v2"), spec=flagged())
    w.apply("v2")
    w.run(lambda w: w.flags[0].percent == 100)
    w.flags[0].error = "connection refused"
    w.say("abort")
    w.seconds(30)
    assert w.status.rollout is not None, "it ended without the flag"
    assert w.status.waiting is not None
    assert w.status.waiting.reason == "FlagRollbackPending"
    w.flags[0].error = ""
    w.settle()
    w.as_found()


def test_no_flag_of_a_step_rises_while_the_source_of_another_is_away() -> None:
    """All or nothing: the step waits with both at 0, says for which, and goes back at its deadline."""
    w = world(Version("v2"), spec=two_flags())
    w.flags[1].error = "connection refused"
    w.apply("v2")
    w.run(lambda w: w.phase == "RollingBack")
    assert not [a for a in w.acted if isinstance(a, m.SetFlag)]
    assert w.status.rollout is not None
    assert w.status.rollout.rollback_reason == "FlagTimeout"
    assert "flag other" in w.status.rollout.rollback_cause
    assert "connection refused" in w.status.rollout.rollback_cause
    w.settle()
    w.as_found()


@pytest.mark.parametrize(("mode", "share"), [("Aligned", 5), ("Independent", 50)])
def test_a_flag_of_everybody_goes_before_the_traffic(mode: str, share: int) -> None:
    """Back by five seconds at the latest: users with the flag on must not meet pods without the code."""
    w = world(Version("v2", judge="silent"), spec=two_flags(mode))
    w.apply("v2")
    w.reach("Progressing", step=0)
    w.run(lambda w: w.flags[1].percent == share)
    assert not w.flags[1].gated
    w.broken = {m.ZeroFlags}
    w.say("abort")
    began = w.now
    w.run(lambda w: w.weight in (0, None))
    assert 5 <= w.now - began < 8
    assert [f.percent for f in w.flags] == [10, share]
    w.broken = set()
    w.settle()
    w.as_found()


def test_each_flag_becomes_what_its_owner_chose_at_promotion() -> None:
    """One is kept where it is, the other one put back: neither choice touches the other flag."""
    w = world(Version("v2"), spec=two_flags())
    w.apply("v2")
    columns = []
    w.checks.append(lambda w, seen, before, decision: columns.append(decision.status.flags_text))
    w.settle()
    assert w.status.stable_revision == "v2"
    assert [(f.people, f.percent) for f in w.flags] == [(60, None), (0, None)]
    assert w.status.sentence.endswith("flag new-checkout 60 %, flag other as it was found.")
    shown = [c for c in dict.fromkeys(columns) if c]
    assert shown == [
        "new-checkout=0, other=0",
        "new-checkout=10, other=50",
        "new-checkout=10, other=20",
        "new-checkout=60, other=20",
        "new-checkout=60, other=0",
    ]
    assert w.status.flags_text is None


def test_what_a_person_raised_is_not_written_over() -> None:
    """The drift is still a drift at the second look: it holds, and at the deadline the flag only ever falls."""
    w = placed("Progressing")
    ours = w.status.flags[0].written
    w.flags[0].percent, w.flags[0].drift = 77, "higher"
    before = len(w.acted)
    w.seconds(60)
    assert not [a for a in w.acted[before:] if isinstance(a, m.SetFlag)]
    assert w.status.flags[0].written == ours, "the status tells our write, so the next look still sees the difference"
    assert w.flags[0].drift == "higher"


def test_a_flag_source_that_stays_down_keeps_the_undo() -> None:
    """P1: the flag's original is not forgotten because ten minutes have passed; people are told, once."""
    w = placed("Progressing")
    w.flags[0].error = "connection refused"
    w.say("abort")
    w.seconds(1500, step=5)
    assert w.phase == "RollingBack"
    assert len(w.told("Waiting")) == 1
    w.flags[0].error = ""
    w.settle()
    w.as_found()


def test_a_route_that_is_deleted_stops_the_release_until_it_is_back() -> None:
    """No step counts and nothing is promoted while no request can reach the canary; applied again, it waits for a person's word."""
    w = releasing(Version("v2"))
    w.reach("Progressing", step=1).run(lambda w: w.status.rollout is not None and w.status.rollout.exposed_at is not None)
    routes, w.routes = w.routes, []
    w.seconds(300)
    assert w.status.waiting is not None
    assert (w.phase, w.status.waiting.reason) == ("Progressing", "RouteMissing")
    assert w.status.rollout is not None
    assert w.status.rollout.exposed_at is None
    w.routes = routes
    w.taken(None, "kubectl")
    w.seconds(5)
    assert w.status.waiting.reason == "RouteTakenBack"
    w.say("resume")
    w.settle()
    assert w.status.stable_revision == "v2"
    w.as_found()


def test_a_route_that_stays_deleted_ends_the_release() -> None:
    """After the progress deadline: rolled back, said why, and the Deployment is as it was."""
    w = releasing(Version("v2"))
    w.reach("Progressing")
    w.routes = []
    w.settle()
    assert w.status.verdict is not None
    assert w.status.verdict.reason == "RouteTimeout"
    assert "is gone" in w.status.sentence
    assert w.template == "v1"
