"""Blue-green: full size before anybody meets it, one switch, a bake, and a way back that is one write."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from daemon.api.canary import Analysis, Step, Strategy
from daemon.api.defaults import effective
from daemon.api.validation import validate
from daemon.rollout import model as m
from tests.unit.rollout.world import Autoscaler, Version, World
from tests.unit.rollout.worlds import blue_green, flagged, releasing, spec_of

PREVIEW: Callable[[World], bool] = lambda w: w.status.waiting is not None and w.status.waiting.reason == "Approval"  # noqa: E731


def previewed(version: Version | None = None, delay: str | None = None, **changes: object) -> World:
    return releasing(version, **({"spec": blue_green(delay)} | changes)).run(PREVIEW)


def switched(version: Version | None = None, delay: str | None = None, **changes: object) -> World:
    """All requests are on the new version."""
    w = previewed(version, delay, **changes)
    w.say("approve")
    return w.run(lambda w: w.weight == 100)


def warm() -> World:
    w = switched(delay="30m")
    return w.reach("Promoting", promotion="Warm")


def test_the_preview_is_of_full_size_and_gets_no_request() -> None:
    """As many pods as stable, the Service selects them, weight 0, and nobody's patience but the approval's runs."""
    w = previewed(replicas=6)
    w.seconds(7_200, step=60)
    assert (w.canaries["v2"].available, w.service_revision, w.weight) == (6, "v2", 0)
    assert w.phase == "Progressing"
    assert w.exposure.get("v2") is None


def test_a_good_release_switches_once_and_stable_follows() -> None:
    """Preview, compared at half, everything; then the Deployment itself runs the new version, and nothing of ours is left."""
    w = switched()
    assert w.sets["v1"].available == w.replicas
    w.settle()
    weights = [a.weight for a in w.acted if isinstance(a, m.SetWeight)]
    assert [x for i, x in enumerate(weights) if i == 0 or weights[i - 1] != x] == [0, 50, 100, 0]
    assert (w.status.stable_revision, w.status.verdict and w.status.verdict.reason) == ("v2", "Proven")
    w.as_found()


def test_nothing_is_switched_without_a_proof() -> None:
    """After the switch there is nothing to compare with, so the proof comes before it."""
    w = previewed(Version("v2", judge="silent"))
    w.say("approve")
    w.reach("Inconclusive")
    assert w.weight == 50
    fine = switched()  # "no sign of harm" came long before the proof
    assert fine.status.rollout is not None
    assert fine.status.rollout.proven_at is not None


def test_a_bad_release_ends_before_the_switch() -> None:
    """The comparing stop finds it."""
    w = previewed(Version("v2", judge="bad"))
    w.say("approve")
    w.settle()
    assert m.SetWeight(weight=100) not in w.acted
    assert set(w.failed) == {"v2"}
    w.as_found()


@pytest.mark.parametrize("place", [previewed, switched, warm])
def test_an_abort_is_one_write_and_the_old_version_has_its_pods(place: Callable[[], World]) -> None:
    """In the very pass that hears it weight 0 is written, and stable was never smaller than what all requests need."""
    w = place()
    assert w.sets["v1"].available == w.replicas
    w.say("abort")
    decision = w.turn()
    if place is not previewed:
        assert m.SetWeight(weight=0) in decision.actions
    w.settle()
    assert (w.status.stable_revision, w.weight) == ("v1", None)
    w.as_found()


@pytest.mark.parametrize("place", [previewed, switched, warm])
def test_a_newer_version_in_mid_step_starts_from_its_own_preview(place: Callable[[], World]) -> None:
    """v2 ends without blame; v3 gets a full-size preview of its own and its own approval."""
    w = place()
    w.apply("v3")
    w.run(lambda w: w.status.rollout is not None and w.status.rollout.revision == "v3" and PREVIEW(w))
    assert list(w.canaries) == ["v3"]
    assert (w.weight, w.status.stable_revision, w.failed) == (0, "v1", {})
    w.say("approve")
    w.settle()
    assert w.status.stable_revision == "v3"
    w.as_found()


@pytest.mark.parametrize("after", [-1, 0, 1, 2])
@pytest.mark.parametrize("place", [previewed, switched, warm])
def test_a_daemon_that_dies_loses_nothing(place: Callable[[], World], after: int) -> None:
    """Whether before its status or between two writes: the approval stays given, and the release ends."""
    w = place()
    if place is previewed:
        w.say("approve")
    w.crash_after = after
    w.turn()
    w.crash_after = None
    w.run(lambda w: w.status.rollout is None or (PREVIEW(w) and w.say("approve") is None))
    w.settle()
    assert w.status.stable_revision == "v2"
    w.as_found()


def test_a_judge_that_forgot_its_last_ticks_does_not_hold_the_switched_release() -> None:
    """What was counted between the last stored tick and the daemon's death is gone, and after the switch nothing is counted any more."""
    w = switched()
    w.exposure["v2"] = 0.0
    w.settle()
    assert w.status.stable_revision == "v2"
    w.as_found()


def test_the_old_version_stays_warm_for_its_delay() -> None:
    """Its pods are replaced only after that, and the status says until when."""
    w = warm()
    assert w.status.waiting is not None
    assert (w.status.waiting.reason, w.paused) == ("StableWarm", True)
    w.seconds(1_500, step=10)
    assert (w.sets["v1"].available, w.weight) == (w.replicas, 100)
    w.settle()
    assert w.status.stable_revision == "v2"


def test_pods_that_die_while_stable_is_warm_end_the_release() -> None:
    """The way back is there: it is taken."""
    w = warm()
    w.versions["v2"].fatal, w.versions["v2"].starts = True, False
    w.kill_canary_pods(9)
    w.settle()
    assert w.status.stable_revision == "v1"
    assert set(w.failed) == {"v2"}


def test_a_recreate_deployment_is_switched_without_a_gap() -> None:
    """Its native roll empties it: it has no request by then."""
    w = switched(recreate=True)
    w.settle()
    assert w.status.stable_revision == "v2"
    w.as_found()


def test_flags_and_autoscaler_go_along() -> None:
    """Gated flags are on in the preview already, and the floor keeps stable at full size while it has no request."""
    w = switched(spec=blue_green() | {"flags": flagged()["flags"]}, hpa=Autoscaler())
    assert w.hpa is not None
    assert (w.hpa.minimum, w.flags[0].percent) == (w.replicas, 100)
    w.settle()
    assert w.status.stable_revision == "v2"
    w.as_found()


def test_what_the_owner_leaves_out_is_filled_in() -> None:
    """A stop to compare at where a judge compares, and the switch."""
    plain = spec_of(strategy=Strategy(type="BlueGreen"), steps=None)
    assert [(s.name, s.weight) for s in effective(plain).steps or []] == [("compare", 50), ("switch", 100)]
    templates = spec_of(strategy=Strategy(type="BlueGreen"), steps=None, analysis=Analysis(judge="TemplatesOnly"))
    assert [(s.name, s.weight) for s in effective(templates).steps or []] == [("switch", 100)]


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([Step(weight=10), Step(weight=50)], "keep at most one weight below 100"),
        ([Step(name="switch", weight=100)], "add a step with weight 50 before the switch, or judge: TemplatesOnly"),
    ],
)
def test_what_is_no_blue_green_is_refused(steps: list[Step], words: str) -> None:
    """With the field and the way out."""
    [error] = validate(spec_of(strategy=Strategy(type="BlueGreen"), steps=steps))
    assert (error.path, words in error.message) == ("spec.steps", True)
