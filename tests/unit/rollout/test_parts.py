"""The small pure parts: sizes, templates, durations, plans."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.api.canary import CanarySpec, Flag, FlagStep, Pause, Step, WorkloadRef
from daemon.rollout.capacity import pods_for, ratio_pods, ratio_share, settle_sizes, weight_for
from daemon.rollout.clock import epoch, since, span, stamp
from daemon.rollout.steps import plan_of
from daemon.rollout.templates import images, same_template


def test_a_frozen_roll_moves_in_the_lock_step_that_was_seen_to_work() -> None:
    """Trap A4, replicas 4, maxSurge 1: 2/3 -> 3/2 -> 4/1 -> 4/0 (new/old)."""
    sizes = [(2, 3)]
    while sizes[-1][1]:
        sizes.append(settle_sizes(*sizes[-1], 4, 1))
    assert sizes == [(2, 3), (3, 2), (4, 1), (4, 0)]


@pytest.mark.parametrize(("new", "old", "expected"), [(1, 3, (2, 3)), (0, 4, (1, 4)), (2, 2, (3, 2)), (3, 3, (3, 2))])
def test_a_roll_that_froze_at_another_sum_first_grows_into_the_right_one(new: int, old: int, expected: tuple[int, int]) -> None:
    """The native controller undoes any other sum; no old pod goes before the new one is there."""
    assert settle_sizes(new, old, 4, 1) == expected


@given(st.integers(1, 50), st.integers(0, 10), st.data())
def test_every_lock_step_ends_and_keeps_the_sum(replicas: int, surge: int, data: st.DataObject) -> None:
    """From any split: the sum is replicas + surge until the last move, which leaves replicas / 0."""
    new, old = data.draw(st.integers(0, replicas)), data.draw(st.integers(1, replicas))
    for _ in range(2 * replicas + 5):
        new, old = settle_sizes(new, old, replicas, surge)
        if not old:
            assert new == replicas
            return
        assert new + old == replicas + surge
    raise AssertionError((new, old))


@given(st.integers(0, 100), st.integers(0, 500))
def test_the_pods_for_a_weight_carry_that_weight(weight: int, demand: int) -> None:
    """Both directions round alike: what was allowed stays allowed while nothing dies."""
    if demand:
        assert weight_for(pods_for(weight, demand), demand, weight) == weight


@given(st.integers(0, 500), st.integers(1, 500), st.integers(0, 100))
def test_a_weight_never_asks_more_of_the_pods_than_they_have(available: int, demand: int, wanted: int) -> None:
    """The allowed weight is at most the wanted one, and what it needs is there."""
    allowed = weight_for(available, demand, wanted)
    assert 0 <= allowed <= wanted
    assert pods_for(allowed, demand) <= available


@given(st.integers(0, 100), st.integers(1, 200))
def test_pods_over_pods_come_near_the_share(share: int, stable: int) -> None:
    """Never below the share that was asked for (short of a whole shift), nor a pod more than needed."""
    pods = ratio_pods(share, stable)
    if 0 < share < 100:
        assert 100 * pods >= share * (pods + stable)
        assert pods == 1 or 100 * (pods - 1) < share * (pods - 1 + stable)
    assert 0 <= ratio_share(pods, stable) <= 100


BASE = {"metadata": {"labels": {"app": "shop"}}, "spec": {"containers": [{"name": "app", "image": "shop:1"}]}}


def _with(image: str = "shop:1", **annotations: str) -> dict[str, object]:
    return {"metadata": {"labels": {"app": "shop"}, "annotations": annotations}, "spec": {"containers": [{"name": "app", "image": image}]}}


def test_a_restart_stamp_makes_no_other_version() -> None:
    """`kubectl rollout restart` of stable is the same release."""
    assert same_template(BASE, _with(**{"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"}))


def test_a_restart_stamp_on_a_rejected_template_does_not_make_it_stable() -> None:
    """Trap A12: compared with stable, not with the template before, the bad image stays another version."""
    rejected = _with("shop:2")
    restarted = _with("shop:2", **{"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"})
    assert same_template(rejected, restarted)
    assert not same_template(BASE, restarted)


@pytest.mark.parametrize("other", [_with("shop:2"), _with(checksum="a"), {"metadata": BASE["metadata"], "spec": {}}])
def test_everything_else_makes_another_version(other: dict[str, object]) -> None:
    """An image, an annotation of the user's, a container less."""
    assert not same_template(BASE, other)


def test_the_tracks_of_our_own_make_no_other_version() -> None:
    """The hash label of the native controller and our track label are not the user's."""
    labels = {"app": "shop", "pod-template-hash": "x", "linnet.dev/track": "canary", "linnet.dev/revision": "v2"}
    assert same_template(BASE, {"metadata": {"labels": labels}, "spec": BASE["spec"]})


def test_images_are_those_of_all_containers() -> None:
    """Init containers fail releases too."""
    assert images({"spec": {"initContainers": [{"image": "b"}], "containers": [{"image": "a"}, {"image": "a"}]}}) == ("a", "b")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.4, "0.4 s"),
        (9.96, "10 s"),
        (45, "45 s"),
        (60, "1 min"),
        (105, "1 min 45 s"),
        (490, "8 min 10 s"),
        (3600, "1 h"),
        (8400, "2 h 20 min"),
    ],
)
def test_a_duration_reads_as_people_say_it(seconds: float, text: str) -> None:
    """'8 min 10 s', never '490.0s'."""
    assert span(seconds) == text


@given(st.floats(0, 4e9))
def test_an_instant_survives_the_status(seconds: float) -> None:
    """To the millisecond, both ways."""
    assert abs(epoch(stamp(seconds)) - seconds) < 0.0011
    assert since(stamp(seconds), seconds - 5) == 0.0


def test_a_step_says_its_whole_exposure() -> None:
    """What a step does not name carries over; a gated flag that nobody names is on for the canary."""
    steps = [
        Step(weight=5),
        Step(flags=[FlagStep(name="a", percent=50)]),
        Step(pause=Pause()),
        Step(weight=50),
    ]
    plan = plan_of(CanarySpec(workload_ref=WorkloadRef(name="shop"), steps=steps, flags=[Flag(name="a"), Flag(name="b")]), gitops=False)
    assert [(s.weight, {name: flag.percent for name, flag in s.flags.items()}) for s in plan.steps] == [
        (5, {"a": 0, "b": 100}),
        (5, {"a": 50, "b": 100}),
        (5, {"a": 50, "b": 100}),
        (50, {"a": 50, "b": 100}),
    ]
    assert plan.steps[2].endless
    assert plan.peak == 50


@pytest.mark.parametrize(
    ("on_rollback", "gitops", "restores"),
    [("Auto", False, True), ("Auto", True, False), ("Restore", True, True), ("Hold", False, False), (None, True, False)],
)
def test_git_decides_what_is_reverted_unless_the_owner_says_otherwise(on_rollback: str | None, gitops: bool, restores: bool) -> None:
    """`Auto` restores where no GitOps manager is seen."""
    spec = CanarySpec(workload_ref=WorkloadRef(name="shop"), on_rollback=on_rollback)  # type: ignore[arg-type]
    assert plan_of(spec, gitops=gitops).restore is restores
