"""A real Graphite on the loopback: carbon that takes lines, graphite-web that renders them."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.testbed import build

HERE = Path(__file__).parent / "graphite"
CARBON = """[cache]
STORAGE_DIR = {folder}
LOCAL_DATA_DIR = {folder}/whisper
CONF_DIR = {folder}
LOG_DIR = {folder}
PID_DIR = {folder}
LINE_RECEIVER_INTERFACE = 127.0.0.1
LINE_RECEIVER_PORT = {lines}
PICKLE_RECEIVER_PORT = 0
CACHE_QUERY_INTERFACE = 127.0.0.1
CACHE_QUERY_PORT = {cache}
ENABLE_UDP_LISTENER = False
MAX_CREATES_PER_MINUTE = inf
"""


@dataclass(frozen=True)
class LoneGraphite:
    url: str
    port: int

    async def store(self, *lines: tuple[str, float, float]) -> None:
        """Each a name, a value, and the time in seconds of the epoch."""
        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write("".join(f"{name} {value} {at:.0f}\n" for name, value, at in lines).encode())
        await writer.drain()
        writer.close()
        await writer.wait_closed()


def _free_ports(count: int) -> list[int]:
    held = [socket.socket() for _ in range(count)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in held]
    for one in held:
        one.close()
    return ports


async def _open(port: int) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.1)
                continue
            writer.close()
            await writer.wait_closed()
            return


@asynccontextmanager
async def lone_graphite(folder: Path) -> AsyncIterator[LoneGraphite]:
    """Keeps a point for each second of an hour."""
    lines, cache, web = _free_ports(3)
    (folder / "whisper").mkdir()
    (folder / "carbon.conf").write_text(CARBON.format(folder=folder, lines=lines, cache=cache))
    (folder / "storage-schemas.conf").write_text("[all]\npattern = .*\nretentions = 1s:1h\n")
    own = {"GRAPHITE_ROOT": str(folder), "GRAPHITE_STORAGE": str(folder), "GRAPHITE_CARBON": str(cache), "GRAPHITE_NO_PREFIX": "true"}
    env = {**os.environ, **own, "PYTHONPATH": str(HERE), "DJANGO_SETTINGS_MODULE": "settings"}
    python, carbon = build.graphite() / "bin" / "python", build.graphite() / "bin" / "carbon-cache.py"
    commands = [
        [str(python), str(carbon), f"--config={folder / 'carbon.conf'}", "--nodaemon", "start"],
        [str(python), str(HERE / "serve.py"), str(web)],
    ]
    with (folder / "graphite.log").open("ab") as log:
        processes = [subprocess.Popen(c, env=env, cwd=folder, stdout=log, stderr=log) for c in commands]
    try:
        await _open(lines)
        await _open(web)
        yield LoneGraphite(f"http://127.0.0.1:{web}", lines)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            await asyncio.to_thread(process.wait, 20)
