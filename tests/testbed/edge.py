"""A real Envoy in front of a gateway, run from `examples/edge` as a reader would: it tells the gateway each user's bucket.

Nothing of the example is changed but where it listens and where it sends; so that a test can read what the gateway was told, the
answer repeats the header as `X-Bucket-Seen`.
"""

from __future__ import annotations

import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from tests.testbed import build
from tests.testbed.controlplane import ADDRESS, ControlPlaneError

EXAMPLE = Path(__file__).parents[2] / "examples" / "edge"
PORT = 18480
SEEN = "X-Bucket-Seen"


def config(gateway: str, port: int = PORT, snippet: Path = EXAMPLE / "buckets.lua") -> dict[str, Any]:
    """The example, at other addresses."""
    made: dict[str, Any] = yaml.safe_load((EXAMPLE / "envoy.yaml").read_text())
    to = urlsplit(gateway)
    resources = made["static_resources"]
    resources["listeners"][0]["address"]["socket_address"] = {"address": ADDRESS, "port_value": port}
    manager = resources["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    manager["http_filters"][0]["typed_config"]["default_source_code"]["filename"] = str(snippet)
    told = {"key": SEEN, "value": "%REQ(X-Linnet-Bucket)%"}
    manager["route_config"]["response_headers_to_add"] = [{"header": told}]
    endpoint = resources["clusters"][0]["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
    endpoint["address"]["socket_address"] = {"address": to.hostname, "port_value": to.port or 80}
    return made


class Edge:
    """`url` takes requests; runs in the network namespace of the thread that starts it."""

    def __init__(self, gateway: str, port: int = PORT, snippet: Path = EXAMPLE / "buckets.lua", timeout: float = 30.0) -> None:
        self.url = f"http://{ADDRESS}:{port}"
        self._folder = tempfile.TemporaryDirectory(prefix="linnet-edge-")
        folder = Path(self._folder.name)
        (folder / "envoy.yaml").write_text(yaml.safe_dump(config(gateway, port, snippet)))
        self._log = folder / "envoy.log"
        with self._log.open("wb") as log:
            command = [str(build.envoy()), "-c", str(folder / "envoy.yaml"), "--log-level", "warn", "--use-dynamic-base-id"]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + timeout
        while not self._listens(port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = self._log.read_text()
                self.stop()
                raise ControlPlaneError(f"the edge's Envoy does not listen:\n{said}")
            time.sleep(0.05)

    def _listens(self, port: int) -> bool:
        with socket.socket() as asking:
            asking.settimeout(1.0)
            return asking.connect_ex((ADDRESS, port)) == 0

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        self._folder.cleanup()
