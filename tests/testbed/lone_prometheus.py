"""A real Prometheus, or a VictoriaMetrics, alone, without a cluster: it scrapes processes of the test, which it finds through a file.

For tests of what a server does with counters: births, resets, targets that go, and itself being away for a while.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import yaml

from tests.testbed import build


class LoneServer:
    """One on a free loopback port; `targets` may be told anew at any time. Its data survive `stop` and `start`."""

    name = ""
    ready = ""

    def __init__(self, folder: Path, *, interval: str = "1s", options: tuple[str, ...] = ()) -> None:
        self.folder, self._options = folder, options
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._file = folder / "targets.json"
        self._config = folder / "prometheus.yaml"
        job = {"job_name": "pods", "file_sd_configs": [{"files": [str(self._file)], "refresh_interval": "1s"}]}
        self._config.write_text(
            yaml.safe_dump({"global": {"scrape_interval": interval, "scrape_timeout": interval}, "scrape_configs": [job]})
        )
        self.targets({})
        self._process: subprocess.Popen[bytes] | None = None

    def targets(self, pods: Mapping[str, tuple[str, dict[str, str]]]) -> None:
        """Name of a pod -> its address and further labels."""
        groups = [{"targets": [address], "labels": {"pod": pod, **labels}} for pod, (address, labels) in pods.items()]
        fresh = self._file.with_suffix(".new")
        fresh.write_text(json.dumps(groups))
        fresh.replace(self._file)

    def command(self) -> list[str]:
        raise NotImplementedError

    async def start(self, timeout: float = 30.0) -> None:
        log = self.folder / f"{self.name}.log"
        with log.open("ab") as file:
            self._process = subprocess.Popen([*self.command(), *self._options], stdout=file, stderr=file)
        deadline = time.monotonic() + timeout
        while not await asyncio.to_thread(self._ready):
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError(f"{self.name} is not ready: {log.read_text()[-2000:]}")
            await asyncio.sleep(0.1)

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}{self.ready}", timeout=5) as answer:
                return int(answer.status) == 200
        except OSError:
            return False

    async def stop(self) -> None:
        """As an outage: the data stay."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            await asyncio.to_thread(self._process.wait, 20)
        self._process = None


class LonePrometheus(LoneServer):
    name = "prometheus"
    ready = "/-/ready"

    def command(self) -> list[str]:
        return [
            str(build.bin_dir() / "prometheus"),
            f"--config.file={self._config}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--log.level=warn",
        ]


class LoneVictoria(LoneServer):
    """VictoriaMetrics, all in one process: what it scraped is found two or three seconds later."""

    name = "victoria-metrics"
    ready = "/health"

    def command(self) -> list[str]:
        return [
            str(build.bin_dir() / "victoria-metrics"),
            f"-promscrape.config={self._config}",
            "-promscrape.config.strictParse=false",  # it has the interval of looking at the file as a flag
            "-promscrape.fileSDCheckInterval=1s",
            f"-storageDataPath={self.folder / 'data'}",
            f"-httpListenAddr=127.0.0.1:{self.port}",
            "-retentionPeriod=1d",
            "-loggerLevel=WARN",
            "-memory.allowedBytes=64MiB",
        ]
