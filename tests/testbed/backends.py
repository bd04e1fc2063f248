"""Two versions of a service that say who they are, for the data-plane suite: as little work as can be, so that the gateway is what is measured.

Each address is one version; the answer's body is its name. HTTP/1.1 with kept connections, `?sleep=2` holds a request for two seconds, and
`?status=503` is answered so.

    python -m tests.testbed.backends stable=10.99.200.1:8080 canary=10.99.200.2:8080 log=/tmp/seen.log

What is asked for under `/logged` is written into the log, one line a request: version, method, path.
"""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import TextIO

_STATUS = re.compile(rb"[?&]status=([0-9]{3})")
_SLEEP = re.compile(rb"[?&]sleep=([0-9.]+)")


class Version(asyncio.Protocol):
    """One connection to one version."""

    def __init__(self, name: str, log: TextIO | None = None) -> None:
        self._name, self._log = name, log
        body = name.encode()
        self._answer = b"HTTP/1.1 %%s OK\r\nContent-Type: text/plain\r\nX-Version: %s\r\nContent-Length: %d\r\n\r\n%s" % (
            body,
            len(body),
            body,
        )
        self._transport: asyncio.Transport | None = None
        self._heard = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._heard += data
        while b"\r\n\r\n" in self._heard:
            request, _, self._heard = self._heard.partition(b"\r\n\r\n")
            line = request.partition(b"\r\n")[0]
            if self._log is not None and b" /logged" in request[:16]:
                method, path = line.decode().split(" ")[:2]
                self._log.write(f"{self._name} {method} {path}\n")
            held, wanted = _SLEEP.search(line), _STATUS.search(line)
            status = wanted[1] if wanted else b"200"
            if held:
                asyncio.get_running_loop().call_later(float(held[1]), self._reply, status)
            else:
                self._reply(status)

    def _reply(self, status: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(self._answer % status)


async def serve(versions: list[str]) -> None:
    loop = asyncio.get_running_loop()
    files = [argument.partition("=")[2] for argument in versions if argument.startswith("log=")]
    log = Path(files[0]).open("a", buffering=1) if files else None  # noqa: SIM115 - as long as the process
    for version in versions:
        name, _, address = version.partition("=")
        if name == "log":
            continue
        host, _, port = address.rpartition(":")
        await loop.create_server(lambda name=name: Version(name, log), host, int(port))  # type: ignore[misc]
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1:]))
