"""Versions that run without a verdict: bypassed holds, lost stable templates, Deployments found half-way."""

from __future__ import annotations

from daemon.rollout import model as m
from tests.unit.rollout.world import Version, World
from tests.unit.rollout.worlds import world


def test_after_a_scale_to_zero_the_wrong_replicaset_is_corrected() -> None:
    """Trap A3: the native controller revives the newest-created ReplicaSet; the stored stable template goes back."""
    w = world(Version("v2", judge="bad"), Version("v0"), spec={"on_rollback": "Hold"})
    w.apply("v2")
    w.settle()
    w.scale(0)
    w.seconds(5)
    w.sets["v0"] = w.sets["v1"].__class__(0, 0)
    w.scale(4)
    w.settle()
    assert {r for r, p in w.sets.items() if p.replicas} == {"v1"}
    assert w.template == "v1"
    assert w.told("StableLost")


def test_stable_lost_without_a_stored_template_ends_by_its_owners_word() -> None:
    """The way out that the sentence names does work."""
    w = world(Version("v2", judge="bad"), spec={"on_rollback": "Hold"})
    w.apply("v2")
    w.settle()
    w.stored.pop("v1")
    w.sets = {"v0": w.sets["v1"]}
    w.versions["v0"] = Version("v0")
    w.seconds(20)
    assert w.phase == "StableLost"
    w.hold_off = True
    w.apply("v3")
    w.unpause()
    w.settle()
    assert w.status.stable_revision == "v3"


def test_the_wait_for_a_missing_replicaset_ends_although_nothing_changes() -> None:
    """The grace of the native controller counts from when it was first missed."""
    w = world(Version("v2"), spec={"on_rollback": "Hold"})
    w.scale(0)
    w.apply("v2")
    w.seconds(5)
    w.sets.clear()
    w.replicas = 4
    seen = w.observe()
    assert seen.workload is not None
    for _ in range(30):
        w.turn()
        w.now += 1
        if w.phase == "StableLost":
            return
    raise AssertionError(w.status.waiting)


def test_a_deployment_paused_by_its_owner_is_left_alone() -> None:
    """Neither their pause nor their template is touched, and no override takes the pause away."""
    w = world(Version("v2"))
    w.paused = True
    w.apply("v2")
    before = len(w.acted)
    w.seconds(30)
    w.say("override")
    w.seconds(5)
    assert not w.acted[before:]
    assert w.status.waiting is not None
    assert w.status.waiting.reason == "PausedByOwner"
    assert w.told("CommandRefused")


def test_a_deployment_without_replicas_is_not_adopted() -> None:
    """There is nothing to compare with."""
    w = world(adopted=False, replicas=0)
    w.sets["v1"].replicas = w.sets["v1"].available = 0
    w.seconds(10)
    assert (w.phase, w.adopted) == ("Pending", False)


def test_adoption_in_mid_roll_waits_and_holds_nothing() -> None:
    """Stable is recorded once the roll is complete."""
    w = world(Version("v2"), adopted=False)
    w.template = "v2"
    w.tick()
    w.turn()
    assert (w.phase, w.paused) == ("Pending", False)
    w.reach("Idle")
    assert w.status.stable_revision == "v2"


def test_a_template_held_before_stable_was_recorded_is_not_held_for_good() -> None:
    """Opt-in and a new image in one write: held by the policy although nothing is known to be stable yet."""
    w = world(Version("v2"), adopted=False)
    w.adopted = True
    w.apply("v2")
    assert w.held
    w.settle()
    assert not w.paused
    assert {r for r, p in w.sets.items() if p.replicas} == {w.status.stable_revision}


def test_a_bypassed_version_is_accepted_by_a_person() -> None:
    """`linnet promote --override` takes what runs as stable."""
    w = world(Version("v2"), policy=False)
    w.apply("v2")
    w.reach("Bypassed").seconds(20)
    assert w.status.stable_revision == "v1"
    w.say("override")
    w.settle()
    assert (w.phase, w.status.stable_revision) == ("Idle", "v2")


def bypassed() -> World:
    """`v2` rolled without being judged and serves alone; `v3` landed on top of it and is held."""
    w = world(Version("v2", judge="bad"), Version("v3"), policy=False)
    w.apply("v2")
    w.reach("Bypassed").seconds(20)
    w.policy = True
    w.apply("v3")
    w.settle()
    return w


def test_a_version_on_top_of_one_that_was_never_judged_waits_for_a_word() -> None:
    """Nothing rolls: neither the old stable version over what a person let go, nor the new one unjudged. It is told once."""
    w = bypassed()
    assert (w.phase, w.template, w.paused) == ("Bypassed", "v3", True)
    assert {r: p.available for r, p in w.sets.items() if p.replicas} == {"v2": w.replicas}
    assert w.status.waiting is not None
    assert "v2 serves was never judged" in w.status.waiting.message
    assert "linnet promote --override checkout --revision v2" in w.status.waiting.way_out
    told = len(w.told("Bypassed"))
    w.seconds(60)
    assert len(w.told("Bypassed")) == told
    assert not [a for a in w.acted if isinstance(a, m.RestoreTemplate | m.ReleaseHold)]


def test_what_serves_unjudged_can_be_accepted_and_the_new_version_is_judged_against_it() -> None:
    """An override of the running revision makes it stable by a person's word; the held one then goes through the steps."""
    w = bypassed()
    w.say("override", "v2")
    w.reach("Progressing")
    assert (w.status.stable_revision, w.stored["v2"]) == ("v2", "stable")
    w.settle()
    assert w.status.stable_revision == "v3"
    assert w.exposure["v3"] > 0
    w.as_found()


def test_a_held_version_on_top_of_an_unjudged_one_can_be_released_as_it_is() -> None:
    """An override of the revision at hand ships it, said as such; the old stable template is never written."""
    w = bypassed()
    w.say("override")
    w.settle()
    assert (w.phase, w.status.stable_revision) == ("Idle", "v3")
    assert {r for r, p in w.sets.items() if p.replicas} == {"v3"}
    assert not [a for a in w.acted if isinstance(a, m.RestoreTemplate)]


def test_stable_applied_again_under_an_unjudged_version_needs_no_word() -> None:
    """v1 on top of v2 and v3 is the way back: the hold ends and v1 rolls."""
    w = bypassed()
    w.apply("v1")
    w.settle()
    assert (w.phase, w.template, w.paused) == ("Idle", "v1", False)


def test_a_version_held_in_the_middle_of_an_unjudged_roll_waits_for_stable_to_be_whole() -> None:
    """While pods of stable still run there is something to compare with: they are filled up, and the new version is judged."""
    w = world(Version("v2"), Version("v3"), policy=False)
    w.apply("v2")
    w.reach("Bypassed").tick()
    w.policy = True
    w.apply("v3")
    assert len([p for p in w.sets.values() if p.replicas]) == 2
    w.settle()
    assert w.status.stable_revision == "v3"
    assert w.status.history[0].outcome == "Promoted"


def test_a_scale_to_zero_of_an_unjudged_version_rolls_nothing_back() -> None:
    """What comes back with the pods is what served before: still nobody's word, still nothing written."""
    w = bypassed()
    replicas = w.replicas
    w.scale(0)
    w.seconds(30)
    assert (w.phase, w.template) == ("Bypassed", "v3")
    w.scale(replicas)
    w.settle()
    assert (w.phase, w.template) == ("Bypassed", "v3")
    assert {r for r, p in w.sets.items() if p.replicas} == {"v2"}


def test_break_glass_rolls_without_a_judgement_and_becomes_stable_when_complete() -> None:
    """`linnet.dev/hold: off` is the owner's word."""
    w = world(Version("v2"))
    w.hold_off = True
    w.apply("v2")
    w.settle()
    assert (w.phase, w.status.stable_revision) == ("Idle", "v2")
