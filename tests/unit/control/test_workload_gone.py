"""A Deployment that goes in mid-release: it may come back, else route, flags and pods are given back without it; and whose marks are whose."""

from __future__ import annotations

from daemon.api import names
from tests.unit.control.world import CANARIES, CONFIGMAPS, DEPLOYMENTS, REVISIONS, World, canary, flag_file, flag_source

FLAGS = [{"name": "new"}]


async def exposed(world: World, **spec: object) -> None:
    """Twenty percent of the requests are on the canary, with the flag, and stay there."""
    steps = [{"weight": 20, "dwell": {"minDuration": "1h"}}]
    world.open(flag_file(), flag_source(), canary_spec={"steps": steps, "flags": FLAGS, **spec})
    await world.adopted()
    world.release("app:v2")
    await world.weighs(20)
    await world.until(lambda: (world.status().get("rollout") or {}).get("exposedAt"), "the step is exposed")


def left(world: World) -> list[str]:
    """What is still there of a release."""
    mine = [o["metadata"]["name"] for o in world.list(DEPLOYMENTS, **{names.TRACK: "canary"})]
    return mine + (["route"] if world.share() is not None else [])


async def test_it_is_waited_for_and_then_everything_is_given_back(world: World) -> None:
    """Until the deadline the canary serves on; after it the route, the flag and the pods are as they were before the release."""
    await exposed(world, progressDeadline="3s")
    world.delete(DEPLOYMENTS, "web")
    waiting = await world.until(
        lambda: found if (found := world.status().get("waiting") or {}).get("reason") == "WorkloadMissing" else None, "it waits"
    )
    assert waiting["until"]
    assert world.share() == 20
    await world.until(lambda: not left(world) and not world.status().get("rollout"), "everything is given back")
    assert world.status()["history"][0]["outcome"] == "WorkloadMissing"
    assert world.get(CONFIGMAPS, "flags")["data"] == flag_file()["data"]
    assert world.status()["phase"] == "Idle"


async def test_a_canary_that_is_deleted_after_its_deployment_leaves_nothing(world: World) -> None:
    """Found by the undo log and our own Service, for the Deployment's selector is no more."""
    await exposed(world)
    world.delete(DEPLOYMENTS, "web")
    world.delete(CANARIES, "web")
    await world.until(lambda: world.find(CANARIES, "web") is None, "the Canary is gone")
    assert left(world) == []
    assert world.get(CONFIGMAPS, "flags")["data"] == flag_file()["data"]
    assert [s["metadata"]["name"] for s in world.list("services")] == ["web"]
    assert world.list(REVISIONS) == []


async def test_a_second_canary_takes_nothing_of_the_firsts_with_it(world: World) -> None:
    """Refused and deleted: the Deployment stays marked, and its stable template stored."""
    world.open()
    await world.adopted()
    second = canary()
    second["metadata"]["name"] = "web-again"
    world.apply(second)
    await world.until(lambda: (world.status("web-again").get("waiting") or {}).get("reason") == "WorkloadTaken", "it is refused")
    before, marks = world.list(REVISIONS), len(world.history)
    world.delete(CANARIES, "web-again")
    await world.until(lambda: world.find(CANARIES, "web-again") is None, "it is gone")
    assert world.list(REVISIONS) == before
    changed = [o for _, resource, o in world.history[marks:] if resource == DEPLOYMENTS and o["metadata"]["name"] == "web"]
    assert all(names.CANARY_MARK in o["metadata"]["annotations"] for o in changed)
