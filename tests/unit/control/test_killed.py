"""A daemon that dies at any moment, again and again: the next one ends the release, and everything of the user's is what it was (P1, P5)."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.scenario import at_rest
from tests.unit.control.cluster import CATALOGUE, ROUTES
from tests.unit.control.world import DEPLOYMENTS, HPAS, World, autoscaler, deployment, flag_file, flag_source

RELEASES = int(os.environ.get("LINNET_KILLED_RELEASES", "2"))
KILLS = 4


class Mortal:
    """The daemon as a process, which can be killed."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        words = ["run", "--kubeconfig", str(self.world.kubeconfig), "--no-leader-election", "--metrics-address", "127.0.0.1:0"]
        quiet = asyncio.subprocess.DEVNULL
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "daemon.cli.main", *words, "--catalogue-namespace", CATALOGUE, stdout=quiet, stderr=quiet
        )

    async def end(self, number: signal.Signals) -> None:
        assert self.process is not None
        assert self.process.returncode is None, "the daemon ended by itself"
        self.process.send_signal(number)
        await self.process.wait()


@asynccontextmanager
async def mortal(root: Path) -> AsyncIterator[tuple[World, Mortal]]:
    world = World(root)
    async with world.running():
        linnet = Mortal(world)
        await linnet.start()
        try:
            yield world, linnet
        finally:
            await linnet.end(signal.SIGTERM)


def kept(world: World) -> dict[str, Any]:
    """Every object of the user's, but for the image."""
    found = {kind: at_rest(world.get(resource, name)) for kind, resource, name in OBJECTS}
    found["Deployment"]["body"]["template"]["spec"]["containers"][0]["image"] = ""
    return found


def over(world: World, releases: int) -> bool:
    status = world.status()
    return len(status.get("history") or []) == min(10, releases) and not status.get("rollout")


OBJECTS = (
    ("Deployment", DEPLOYMENTS, "web"),
    ("HTTPRoute", ROUTES, "web"),
    ("HorizontalPodAutoscaler", HPAS, "web"),
    ("Service", "services", "web"),
)


@pytest.mark.timeout(600)
async def test_a_daemon_killed_at_random_moments_leaves_everything_as_it_was(tmp_path: Path) -> None:
    """Releases that are promoted or aborted, each with kills at moments that nobody chose; the seed is in the message. More by LINNET_KILLED_RELEASES."""
    seed = int(os.environ.get("LINNET_KILLED_SEED", "1"))
    dice = random.Random(seed)
    async with mortal(tmp_path) as (world, linnet):
        spec = {"flags": [{"name": "new"}]}
        world.open(flag_source(), flag_file(), autoscaler(), canary_spec=spec)
        await world.until(lambda: world.phase() == "Idle", "adopted", 40)
        await world.until(lambda: "linnet.dev/canary" in (world.get(DEPLOYMENTS, "web")["metadata"].get("annotations") or {}), "marked", 40)
        before = kept(world)
        for number in range(RELEASES):
            world.apply(deployment(image=f"app:v{number + 2}"))
            for _ in range(dice.randrange(1, KILLS + 1)):
                await asyncio.sleep(dice.uniform(0.0, 2.5))
                await linnet.end(signal.SIGKILL)
                await linnet.start()
                if dice.random() < 0.3 and world.phase() in ("Progressing", "Promoting"):
                    world.say("abort")
            await world.until(lambda number=number: over(world, number + 1), f"release {number} of seed {seed} ends", 120)  # type: ignore[misc]
            assert kept(world) == before, f"release {number} of seed {seed}"
            assert [d["metadata"]["name"] for d in world.list(DEPLOYMENTS)] == ["web"]
