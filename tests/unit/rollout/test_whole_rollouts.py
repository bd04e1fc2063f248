"""Whole rollouts in the small world: from an applied template to the last restored leaf."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.rollout import model as m
from tests.unit.rollout.world import Autoscaler, Version
from tests.unit.rollout.worlds import flagged, paused_step, releasing, world

BAD = Version("v2", judge="bad")


def test_a_good_release_is_promoted_and_leaves_nothing_behind() -> None:
    """The stable Deployment runs the new version at full size; route, flags and floor are as found."""
    w = releasing(spec=flagged(), hpa=Autoscaler()).settle()
    assert w.status.stable_revision == "v2"
    assert {r: p.available for r, p in w.sets.items() if p.replicas} == {"v2": 4}
    assert w.status.verdict is not None
    assert w.status.verdict.result == "Pass"
    w.as_found()


def test_a_bad_release_is_rolled_back_and_remembered() -> None:
    """The stable template is back in the Deployment, and the same template is not tried again."""
    w = releasing(BAD, spec=flagged(), hpa=Autoscaler()).settle()
    assert (w.template, w.paused, w.status.stable_revision) == ("v1", False, "v1")
    assert set(w.failed) == {"v2"}
    w.as_found()
    w.apply("v2")
    w.settle()
    assert w.phase == "Held"
    assert w.paused


def test_a_rejected_template_stays_held_where_git_decides() -> None:
    """`onRollback: Auto` under a GitOps manager, and `Hold`, keep the rejected template held for a revert."""
    cases: tuple[dict[str, Any], ...] = ({"gitops": "Argo CD", "spec": {"on_rollback": "Auto"}}, {"spec": {"on_rollback": "Hold"}})
    for changes in cases:
        w = releasing(BAD, **changes).settle()
        assert (w.phase, w.template, w.paused) == ("Held", "v2", True)
        w.as_found()
        w.apply("v1")
        w.settle()
        assert (w.phase, w.paused) == ("Idle", False)
        assert len(w.told("Released")) == 1


@pytest.mark.parametrize(("recreate", "replicas"), [(True, 4), (False, 1), (True, 1)])
def test_where_a_native_roll_would_empty_stable_the_canary_takes_all_traffic_first(recreate: bool, replicas: int) -> None:
    """With Recreate, or one replica that may be unavailable, the hold is released only at 100 % on a full-sized canary."""
    w = world(Version("v2"), recreate=recreate, replicas=replicas, surge=0)
    w.apply("v2")
    w.reach("Promoting", promotion="Rolling")
    assert w.routes[0].weight == 100
    assert w.canaries["v2"].available == replicas
    w.settle()
    assert w.status.stable_revision == "v2"
    w.as_found()


def test_by_pod_ratio_the_share_comes_from_pods() -> None:
    """Without a router the canary gets as many pods as the share needs, and goes again."""
    w = releasing(routed=False, replicas=9)
    w.reach("Progressing", step=1).run(lambda w: w.status.rollout is not None and w.status.rollout.exposed_at is not None)
    assert w.canaries["v2"].available == 9
    assert w.status.weight == 50
    w.settle()
    assert (w.status.stable_revision, w.canaries) == ("v2", {})


def test_a_pause_without_duration_ends_by_a_person_only() -> None:
    """Days pass; the exposure stays as it is; `linnet resume` goes on and the deadline has not run meanwhile."""
    w = releasing(spec=paused_step())
    w.reach("Paused")
    w.seconds(3 * 24 * 3600, step=1800)
    assert (w.phase, w.routes[0].weight) == ("Paused", 5)
    w.say("resume")
    w.settle()
    assert w.status.stable_revision == "v2"
    assert not w.told("Inconclusive")


def test_a_pause_with_a_duration_ends_by_itself() -> None:
    """A pause of ten minutes holds the weight for ten minutes."""
    w = releasing(spec=paused_step("10m"))
    w.reach("Progressing", step=1)
    began = w.now
    w.reach("Progressing", step=2)
    assert 600 <= w.now - began < 660


def test_a_pause_by_a_person_does_not_use_up_the_pause_of_the_step() -> None:
    """Who resumes their own pause has not signed off the step that comes."""
    w = releasing(spec=paused_step())
    w.reach("Progressing", step=0)
    w.say("pause")
    w.reach("Paused")
    w.say("resume")
    w.turn()
    assert w.phase == "Progressing"
    w.run(lambda w: w.phase == "Paused")
    assert w.status.rollout is not None
    assert w.status.rollout.step == 1


def test_pausing_before_the_pausing_step_is_exposed_does_not_sign_it_off() -> None:
    """A person's pause that falls into the owner's endless step ends as the person's pause only."""
    w = releasing(spec=paused_step())
    w.run(lambda w: w.status.rollout is not None and w.status.rollout.step == 1)
    assert w.phase == "Progressing"
    w.say("pause")
    w.reach("Paused").seconds(10)
    w.say("resume")
    w.turn()
    w.seconds(60)
    assert w.phase == "Paused"
    assert w.status.waiting is not None
    assert w.status.waiting.reason == "PausedByStep"


def test_a_person_promotes_and_the_verdict_does_not_claim_a_proof() -> None:
    """`linnet promote` releases, and nothing says Pass (promise P4)."""
    w = releasing(Version("v2", judge="silent")).reach("Progressing")
    w.seconds(5)
    w.say("promote")
    w.settle()
    assert w.status.stable_revision == "v2"
    assert w.status.verdict_text == "Released (Person)"
    assert "person" in w.status.sentence


def test_a_failed_revision_is_released_by_an_override_that_has_not_expired() -> None:
    """The override names the revision and an hour; after that hour it says so and does nothing."""
    w = releasing(BAD, spec={"on_rollback": "Hold"}).settle()
    assert w.phase == "Held"
    w.say("override", expires=w.now - 1)
    w.settle()
    assert (w.phase, w.told("CommandRefused")) == ("Held", ["override of v2 refused: it has expired; say it again"])
    w.say("override", expires=w.now + 3600)
    w.settle()
    assert w.status.stable_revision == "v2"
    assert "not judged" in w.status.sentence
    assert not w.failed
    assert w.status.verdict_text == "Released (Override)"


def test_a_retry_starts_again_at_the_first_step() -> None:
    """`linnet retry` of a held revision judges it anew."""
    w = releasing(BAD, spec={"on_rollback": "Hold"}).settle()
    w.versions["v2"].judge = "good"
    w.exposure.clear()
    w.say("retry")
    w.reach("Progressing", step=0)
    w.settle()
    assert w.status.stable_revision == "v2"
    assert w.status.verdict is not None
    assert w.status.verdict.result == "Pass"


def test_hold_always_keeps_the_deployment_paused_between_releases() -> None:
    """Where the policies lack, the daemon's own pause holds the next template; after a promotion it is put back."""
    w = world(Version("v2"), spec={"hold": "Always"}, policy=False)
    assert w.paused
    w.template = "v2"
    w.settle()
    assert (w.status.stable_revision, w.paused, w.held) == ("v2", True, "true")
    assert {r for r, p in w.sets.items() if p.replicas} == {"v2"}


def test_a_rejected_version_under_hold_always_leaves_stable_running_and_paused() -> None:
    """The stable template is back, and the pause with it."""
    w = world(BAD, spec={"hold": "Always"}, policy=False)
    w.template = "v2"
    w.settle()
    assert (w.template, w.status.stable_revision, w.paused) == ("v1", "v1", True)


def test_the_same_images_in_another_template_say_that_they_failed_before() -> None:
    """A revision that shares the failed images starts at the first step, and every start says so."""
    w = releasing(Version("v2", judge="bad", image="shop:2")).settle()
    w.versions["v3"] = Version("v3", image="shop:2")
    w.apply("v3")
    w.turn()
    assert "checkout v3 (images failed before, as v2) starts" in w.told("Started")[-1]


def test_pods_that_crash_end_a_release_before_any_exposure() -> None:
    """A crash loop is no reason to wait for a deadline."""
    w = releasing(Version("v2", starts=False, fatal=True)).settle()
    assert set(w.failed) == {"v2"}
    assert not any(isinstance(a, m.SetWeight) and a.weight for a in w.acted)


def test_capacity_that_never_comes_ends_at_the_progress_deadline() -> None:
    """Pending pods: the release ends, with the scheduler's words, and nothing was exposed."""
    w = releasing(capacity=0)
    began = w.now
    w.settle()
    assert 600 <= w.now - began < 720
    assert "0 of 1 canary pods are available" in w.status.sentence


def test_no_canary_is_made_by_the_pass_that_ends_its_release() -> None:
    """What it was about to write on the way forward includes pods: a canary that is made now would only have to be taken away."""
    w = releasing(capacity=0)
    w.broken = {m.EnsureCanary}  # the API server refuses it, until the deadline
    w.run(lambda w: w.phase == "RollingBack")
    assert w.last is not None
    assert not [a for a in w.last.actions if isinstance(a, m.EnsureCanary)]
    w.settle()
    assert w.phase in ("Idle", "Held")


def test_a_route_that_nobody_accepts_ends_at_the_progress_deadline() -> None:
    """A parent that never reports the backend resolved gets no traffic."""
    w = world(Version("v2"))
    w.routes[0].accepts = False
    w.apply("v2")
    w.run(lambda w: w.phase == "RollingBack")
    w.routes[0].accepts = True
    w.settle()
    assert set(w.failed) == {"v2"}
    assert not any(isinstance(a, m.SetWeight) and a.weight for a in w.acted)


def test_two_routes_move_together() -> None:
    """The step is reached only when both routes report it."""
    w = world(Version("v2"), route_count=2)
    w.apply("v2")
    w.reach("Progressing", step=1)
    w.run(lambda w: w.status.rollout is not None and w.status.rollout.exposed_at is not None)
    assert [r.weight for r in w.routes] == [50, 50]
    w.settle()
    w.as_found()


def test_two_hundred_releases_leave_a_status_of_constant_size() -> None:
    """History is bounded; nothing else grows."""
    w = world()
    for number in range(2, 40):
        w.apply(f"v{number}")
        w.settle()
    assert w.status.stable_revision == "v39"
    assert len(w.status.history) == 10


def test_a_stray_canary_of_an_earlier_release_goes_before_the_next_starts() -> None:
    """One Service never has two versions behind it (workload-traps 17)."""
    w = world(Version("v2"), Version("v0"))
    w.canaries["v0"] = w.sets["v1"].__class__(2, 2)
    w.apply("v2")
    w.run(lambda w: "v2" in w.canaries)
    assert "v0" not in w.canaries
