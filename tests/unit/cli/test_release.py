"""The break-glass, and restarts of what is held."""

from pathlib import Path

from daemon.api import names
from tests.sandbox.workbench import service, web
from tests.unit.cli.world import World, world


def images(w: World) -> dict[str, int]:
    return {image: size for image, size in w.bench.sizes().items() if size}


async def test_release_all_needs_no_daemon(tmp_path: Path) -> None:
    """What is held rolls, with the policies in force and without any account of Linnet's; an owner's pause is left alone."""
    async with world(tmp_path) as w:
        held = {"linnet.dev/canary": "web"}
        adopted = web("app:v1", 2)
        adopted["metadata"]["annotations"] = held
        w.apply(service(), adopted, web("app:v1", 1, name="own", paused=True))
        await w.bench.until(w.bench.rolled_out, "rolled out")
        w.bench.set_image("web", "app:v2")
        assert w.bench.deployment()["spec"]["paused"] is True
        done = await w.run("release", "--all", "--yes")
        assert done.exit_code == 0, done.output
        assert "held: default/web (app:v2)" in done.output
        assert "released: default/web" in done.output
        assert "own" not in done.output
        await w.bench.until(w.bench.rolled_out, "rolled out")
        assert images(w) == {"app:v2": 2}
        annotations = w.bench.deployment()["metadata"]["annotations"]
        assert names.HELD_MARK not in annotations
        assert annotations[names.HOLD] == "off"


async def test_what_linnet_does_not_hold_is_not_released(tmp_path: Path) -> None:
    """An owner's own pause, and a name that is no Deployment's, each get their sentence."""
    async with world(tmp_path) as w:
        w.apply(web("app:v1", 1, paused=True))
        done = await w.run("release", "deploy/web", "--yes")
        assert (done.exit_code, done.output) == (1, "linnet: Deployment web is not held by Linnet: its owner paused it\n")
        done = await w.run("release", "web", "--yes")
        assert "write deploy/web" in done.output
        done = await w.run("release")
        assert done.exit_code == 2


async def test_restart_replaces_good_pods_one_by_one_while_held(tmp_path: Path) -> None:
    """All pods of stable are new ones, none of the held template came up, and never more than one was missing."""
    async with world(tmp_path) as w:
        adopted = web("app:v1", 3)
        adopted["metadata"]["annotations"] = {"linnet.dev/canary": "web"}
        w.apply(adopted)
        await w.bench.until(w.bench.rolled_out, "rolled out")
        w.bench.set_image("web", "app:v2")
        before = {p["metadata"]["uid"] for p in w.bench.pods(app="web")}
        fewest = [3]

        def watch(_event: str, resource: str, _obj: object) -> None:
            if resource == "pods":
                living = [p for p in w.bench.pods(app="web") if "deletionTimestamp" not in p["metadata"]]
                fewest.append(len(living))

        w.bench.store.subscribe(watch)
        done = await w.run("restart", "deploy/web")
        assert done.exit_code == 0, done.output
        after = w.bench.pods(app="web")
        assert not before & {p["metadata"]["uid"] for p in after}
        assert {p["spec"]["containers"][0]["image"] for p in after} == {"app:v1"}
        assert min(fewest) >= 2
        assert w.bench.deployment()["spec"]["paused"] is True
