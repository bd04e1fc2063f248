"""One write that changes the annotations and the template: the release goes by the annotations of that very write."""

import asyncio
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest

from daemon.api import names
from daemon.control.adopt import Adopter
from tests.unit.control.cluster import CATALOGUE
from tests.unit.control.world import CANARIES, CONFIGMAPS, DEPLOYMENTS, World, deployment, flag_file, flag_source, linnet, route, service

PROFILE = linnet(
    "CanaryProfile",
    "web",
    {"allowedNamespaces": ["*"], "strategy": {"ramp": "Steps"}, "steps": [{"weight": 7, "dwell": {"minDuration": "1ms"}}, {"pause": {}}]},
    namespace=CATALOGUE,
)


class SlowAdopter:
    """The adopter does its work when it is let, which is how it looks when its queue is long."""

    def __init__(self) -> None:
        self.let = asyncio.Event()
        self.let.set()
        self.asked = asyncio.Event()


@pytest.fixture
def adopter() -> Iterator[SlowAdopter]:
    slow, real = SlowAdopter(), Adopter._make

    async def make(self: Adopter, item: Any, made: Any, spec: Any) -> None:
        slow.asked.set()
        await slow.let.wait()
        await real(self, item, made, spec)

    with mock.patch.object(Adopter, "_make", make):
        yield slow


async def short_form(world: World, **annotations: str) -> None:
    pages = linnet("MetricSource", "default", {"type": "Scrape", "scrape": {"port": world.pages.port}})
    asked = {names.PROFILE: "web", **{f"{names.GROUP}/{key}": value for key, value in annotations.items()}}
    world.apply(service(), route(), pages, flag_file(), flag_source(), PROFILE, deployment(annotations=asked))
    await world.adopted()


def write(world: World, image: str, **annotations: str | None) -> None:
    """One patch, as one `kubectl apply` would send it."""
    template = {"spec": {"containers": [{"name": "main", "image": image, "ports": [{"name": "http", "containerPort": 8080}]}]}}
    keyed = {f"{names.GROUP}/{key}": value for key, value in annotations.items()}
    world.patch(DEPLOYMENTS, "web", {"metadata": {"annotations": keyed}, "spec": {"template": template}})


async def test_a_release_goes_by_the_annotations_of_its_own_write(world: World) -> None:
    """Steps and flag of the new annotations, nothing of the old ones."""
    await short_form(world, steps="3,9")
    write(world, "app:v2", steps="11,60", flags="new")
    await world.weighs(11)
    await world.until(lambda: world.status().get("flagsText") == "new=100", "the flag moves with it")
    assert [s["weight"] for s in world.status()["rollout"]["spec"]["steps"]] == [11, 60]


async def test_a_release_waits_for_a_canary_that_has_not_followed_yet(world: World, adopter: SlowAdopter) -> None:
    """However long the adopter takes, the old spec is no release's; then it goes on by itself."""
    await short_form(world, steps="3,9")
    adopter.let.clear()
    adopter.asked.clear()
    write(world, "app:v2", steps="11,60")
    await adopter.asked.wait()
    await world.until(lambda: (world.status().get("waiting") or {}).get("reason") == "PermitAnnotations", "it waits")
    assert "until" in world.status()["waiting"]
    assert "rollout" not in world.status()
    assert world.share() is None
    adopter.let.set()
    await world.weighs(11)


async def test_a_canary_that_never_follows_does_not_hold_a_release_for_ever(world: World, adopter: SlowAdopter) -> None:
    """After its time the release starts as the Canary says."""
    with mock.patch("daemon.control.following.PATIENCE", 0.5):
        await short_form(world, steps="3,9")
        adopter.let.clear()
        write(world, "app:v2", steps="11,60")
        await world.weighs(3)
        adopter.let.set()


async def test_annotations_with_a_fault_leave_the_canary_as_it_is(world: World) -> None:
    """They ask for nothing that could be waited for: people are told, and the release goes by what was understood last."""
    await short_form(world, steps="3,9")
    write(world, "app:v2", steps="11 %")
    await world.told("InvalidAnnotation", "Deployment")
    await world.weighs(3)


async def test_a_release_does_not_start_under_a_canary_that_its_owner_took_back(world: World) -> None:
    """Opt-in and template changed in one write: the Canary goes, and the old spec releases nothing."""
    await short_form(world, flags="new")
    write(world, "app:v2", profile=None, flags=None)
    await world.until(lambda: world.find(CANARIES, "web") is None, "the Canary goes")
    assert not world.events("Started")
    assert "linnet" not in world.get(CONFIGMAPS, "flags")["data"]["flags.json"]
