"""What the daemon's process holds in memory: three libraries cost more than all the rest, and it needs none of them.

scipy.stats, pandas (behind prometheus-api-client) and the models of kubernetes_asyncio would each add tens of megabytes and seconds to
the start. Importing is easy to do by accident, so a process is asked that has been through a whole release.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from tests.serving import serving
from tests.unit.control.cluster import CATALOGUE, SHOP
from tests.unit.control.world import World, flag_file, flag_source, linnet

HEAVY = (
    "scipy.stats",
    "pandas",
    "kubernetes_asyncio.client.models",
    "kubernetes_asyncio.client.api",
    "prometheus_api_client",
    "matplotlib",
)
# The command line as it is, in a process that says at its end what it had loaded.
NOTED = """
import atexit, json, sys
atexit.register(lambda: open(sys.argv[0], "w").write(json.dumps(sorted(sys.modules))))
from daemon.cli.main import main
sys.argv = [{path!r}, *sys.argv[1:]]
main(prog_name="linnet")
"""


def heavy(modules: list[str]) -> set[str]:
    return {name for name in modules for unwanted in HEAVY if name == unwanted or name.startswith(f"{unwanted}.")}


@pytest.mark.parametrize("module", ["daemon.cli.run", "daemon.control.daemon", "daemon.control.judging", "analyzers.judge"])
def test_importing_the_daemon_loads_nothing_heavy(module: str) -> None:
    """In a fresh interpreter, with all that the module imports by itself."""
    code = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert heavy(json.loads(done.stdout)) == set()


@contextlib.asynccontextmanager
async def running(world: World, noted: Path) -> AsyncIterator[None]:
    """`linnet run` as a process of its own while the block runs; `noted` then holds the names of its modules."""
    options = ("--kubeconfig", str(world.kubeconfig), "--catalogue-namespace", CATALOGUE, "--metrics-address", "127.0.0.1:0")
    command = (sys.executable, "-c", NOTED.format(path=str(noted)), "run", *options, "--no-leader-election")
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()


@contextlib.asynccontextmanager
async def inbox() -> AsyncIterator[tuple[str, list[str]]]:
    """The address of a webhook, and what was posted to it."""
    heard: list[str] = []

    async def post(request: web.Request) -> web.Response:
        heard.append(await request.text())
        return web.Response()

    async with serving(post) as url:
        yield f"{url.replace('http', 'json')}/hook", heard


async def test_a_daemon_that_judged_a_whole_release_holds_nothing_heavy(tmp_path: Path) -> None:
    """Adopted, measured, judged, promoted with its flag, and told to a notifier: none of it loads what only other commands need."""
    noted = tmp_path / "modules"
    world = World(tmp_path)
    async with world.running(), inbox() as (url, heard):
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hook", "namespace": SHOP}, "stringData": {"url": url}}
        notifier = linnet("Notifier", "team", {"urlSecretRef": {"name": "hook", "key": "url"}})
        spec = {"flags": [{"name": "new"}], "notify": [{"notifierRef": {"name": "team"}}]}
        async with running(world, noted):
            world.open(flag_file(), flag_source(), secret, notifier, canary_spec=spec)
            await world.adopted()
            world.release("app:v2")
            await world.until(lambda: (world.status().get("verdict") or {}).get("result") == "Pass", "promoted", 50)
            await world.phases("Idle")
    modules: list[str] = json.loads(noted.read_text())
    assert {"numpy", "apprise", "analyzers.judge", "daemon.control.reconcile"} <= set(modules)  # it is the process that did the work
    assert any("Promoted" in text or "promoted" in text for text in heard), heard
    assert heavy(modules) == set()
