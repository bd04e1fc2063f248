"""The arithmetic of a Deployment, against the native controller's own examples and its invariants."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.sandbox.controllers import conditions, rolling
from daemon.sandbox.controllers.objects import normal, same_template, scaled

Object = dict[str, Any]


def deployment(replicas: int, surge: int | str = "25%", unavailable: int | str = "25%", **spec: Any) -> Object:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
    return {"metadata": {"name": "web"}, "spec": {"replicas": replicas, "strategy": strategy, "template": template("v1"), **spec}}


def template(image: str) -> Object:
    return {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": image}]}}


def replica_set(
    name: str, replicas: int, *, created: str = "2026-01-01T00:00:00Z", before: int | None = None, image: str = "v0", available: int = 0
) -> Object:
    annotations = {} if before is None else {rolling.MAX_REPLICAS: str(before)}
    return {
        "metadata": {"name": name, "uid": name, "creationTimestamp": created, "annotations": annotations},
        "spec": {"replicas": replicas, "template": template(image)},
        "status": {"availableReplicas": available, "replicas": replicas},
    }


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "expected"),
    [
        (2, "0%", "1%", (0, 1)),
        (1, "0%", "1%", (0, 1)),
        (2, "1%", "25%", (1, 0)),
        (1, "1%", "25%", (1, 0)),
        (2, "1%", "0%", (1, 0)),
        (10, "25%", "25%", (3, 2)),
        (3, 1, 0, (1, 0)),
        (4, "50%", 9, (2, 4)),
    ],
)
def test_surge_rounds_up_and_unavailable_rounds_down(
    replicas: int, surge: int | str, unavailable: int | str, expected: tuple[int, int]
) -> None:
    """Percentages resolve as in the native controller, and both never come to nothing together."""
    d = deployment(replicas, surge, unavailable)
    assert (rolling.max_surge(d), rolling.max_unavailable(d)) == expected


def test_a_deployment_at_zero_may_have_nothing_unavailable() -> None:
    """With no replicas wanted the rule that gives up one pod does not apply."""
    assert rolling.max_unavailable(deployment(0, 0, 0)) == 0


@pytest.mark.parametrize(
    ("replicas", "sizes", "before", "expected"),
    [
        (20, [10], 10, [20]),
        (10, [5, 5], 10, [5, 5]),
        (20, [5, 5], 10, [10, 10]),
        (8, [6, 4], 10, [5, 3]),
        (12, [5, 5], 10, [6, 6]),
        (0, [6, 4], 10, [0, 0]),
    ],
)
def test_scaling_in_mid_roll_keeps_the_proportions(replicas: int, sizes: list[int], before: int, expected: list[int]) -> None:
    """Each ReplicaSet gets its share, the largest what rounding left over."""
    sets = [replica_set(f"rs{i}", size, before=before, created=f"2026-01-0{i + 1}T00:00:00Z") for i, size in enumerate(sizes)]
    found = {rs["metadata"]["name"]: size for rs, size in rolling.proportional_sizes(deployment(replicas, 0, 1), sets)}
    assert [found[f"rs{i}"] for i in range(len(sizes))] == expected


def test_the_split_of_a_paused_deployment_is_kept_while_it_sums_up_to_replicas_and_surge() -> None:
    """Measured on a real cluster: 2 + 3 of 4 + 1 stayed, 2 + 2 became 2 + 3."""
    d = deployment(4, 1, 0, paused=True)
    old, new = replica_set("old", 2, before=5), replica_set("new", 3, before=5, created="2026-01-02T00:00:00Z")
    assert {rs["metadata"]["name"]: n for rs, n in rolling.proportional_sizes(d, [old, new])} == {"old": 2, "new": 3}
    new["spec"]["replicas"] = 2
    assert {rs["metadata"]["name"]: n for rs, n in rolling.proportional_sizes(d, [old, new])} == {"old": 2, "new": 3}


@given(
    replicas=st.integers(0, 60),
    surge=st.integers(0, 100),
    sizes=st.lists(st.integers(0, 40), min_size=2, max_size=5),
    before=st.integers(1, 120),
)
def test_proportional_sizes_always_sum_up_to_what_is_allowed(replicas: int, surge: int, sizes: list[int], before: int) -> None:
    """Whatever was annotated before, the active ReplicaSets together get replicas plus surge, and none a negative number."""
    d = deployment(replicas, f"{surge}%", 1)
    sets = [replica_set(f"rs{i}", size, before=before) for i, size in enumerate(sizes)]
    found = [size for _, size in rolling.proportional_sizes(d, sets)]
    wanted = replicas + rolling.max_surge(d) if replicas else 0
    assert all(size >= 0 for size in found)
    if found:
        assert sum(found) >= wanted if replicas else sum(found) == 0
        assert sum(found) == wanted or 0 in found


@given(
    replicas=st.integers(1, 50), surge=st.integers(0, 100), unavailable=st.integers(0, 100), old=st.integers(0, 50), new=st.integers(0, 50)
)
def test_a_new_replica_set_never_grows_past_surge_or_the_deployment(
    replicas: int, surge: int, unavailable: int, old: int, new: int
) -> None:
    """The surge caps the sum and the Deployment caps the set."""
    d = deployment(replicas, f"{surge}%", f"{unavailable}%")
    mine, other = replica_set("new", min(new, replicas)), replica_set("old", old)
    grown = rolling.new_replicas(d, [mine, other], mine)
    assert mine["spec"]["replicas"] <= grown <= replicas
    assert grown + old <= max(replicas + rolling.max_surge(d), mine["spec"]["replicas"] + old)


def test_the_newest_created_replica_set_is_revived_when_none_is_active() -> None:
    """What makes scaling a held Deployment through zero dangerous: the newest comes back, not the stable one."""
    older = replica_set("stable", 0, created="2026-01-01T00:00:00Z")
    newer = replica_set("rejected", 0, created="2026-01-02T00:00:00Z")
    assert rolling.find_active_or_latest(None, [newer, older]) is newer
    assert rolling.find_active_or_latest(None, [newer, replica_set("stable", 1)]) is not newer
    assert rolling.find_active_or_latest(None, [replica_set("a", 1), replica_set("b", 1)]) is None


def test_templates_are_equal_apart_from_the_hash_and_empty_maps() -> None:
    """The hash label and maps that Go cannot tell from absent do not make a new version; a changed image does."""
    one, other = template("v1"), template("v1")
    other["metadata"]["labels"]["pod-template-hash"] = "abc"
    other["metadata"]["annotations"] = {}
    other["spec"]["containers"][0]["resources"] = {}
    assert same_template(one, other)
    assert not same_template(one, template("v2"))


def test_an_empty_directory_is_not_the_same_as_no_volume_source() -> None:
    """`emptyDir: {}` is a value: the pointer is there."""
    assert normal({"name": "tmp", "emptyDir": {}}) == {"name": "tmp", "emptyDir": {}}


def test_hashes_use_the_safe_alphabet_and_depend_on_collisions() -> None:
    """A label value that spells nothing; a collision count gives another one."""
    first, second = rolling.template_hash(template("v1"), None), rolling.template_hash(template("v1"), 1)
    assert first != second
    assert set(first) <= set("bcdfghjklmnpqrstvwxz2456789")


@pytest.mark.parametrize(("value", "up", "down"), [("25%", 1, 0), ("50%", 2, 1), (2, 2, 2), (None, 0, 0)])
def test_percentages_of_three(value: int | str | None, up: int, down: int) -> None:
    """IntOrString in both directions."""
    assert (scaled(value, 3, round_up=True), scaled(value, 3, round_up=False)) == (up, down)


def test_unhealthy_old_pods_go_before_healthy_ones() -> None:
    """Cleanup takes at most what may go, oldest ReplicaSet first, and only unavailable pods."""
    sets = [replica_set("a", 4, available=4), replica_set("b", 4, available=1, created="2026-01-02T00:00:00Z")]
    assert [(rs["metadata"]["name"], n) for rs, n in rolling.unhealthy_cleanup(sets, 2)] == [("b", 2)]


def test_a_deadline_that_passed_is_reported_once_and_kept() -> None:
    """ProgressDeadlineExceeded stays until there is progress, and pausing does not overwrite it."""
    d = deployment(1, 1, 0, progressDeadlineSeconds=10)
    d["metadata"]["generation"] = 1
    new = replica_set("web-1", 1)
    d["status"] = {
        "replicas": 1,
        "updatedReplicas": 1,
        "conditions": [conditions.new_condition("Progressing", "True", "NewReplicaSetCreated", "", 0.0)],
    }
    late = conditions.rollout_status(d, [new], new, 11.0)
    found = next(c for c in late["conditions"] if c["type"] == "Progressing")
    assert (found["status"], found["reason"]) == ("False", "ProgressDeadlineExceeded")
    assert found["message"] == 'ReplicaSet "web-1" has timed out progressing.'
    d["status"] = late
    d["spec"]["paused"] = True
    assert conditions.pause_condition(d, 12.0) is None
