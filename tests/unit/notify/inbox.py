"""A TLS server on loopback that apprise really posts to, and the messages that are sent to it."""

import asyncio
import json
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

import trustme

from daemon.notify.message import Kind, Message, severity_of


def message(kind: Kind = "RolledBack", **changes: Any) -> Message:
    fields: dict[str, Any] = {
        "kind": kind,
        "severity": severity_of(kind),
        "cluster": "prod-eu",
        "namespace": "shop",
        "name": "checkout",
        "revision": "7f9c",
        "sentence": "checkout 7f9c rolled back after 1 min 45 s at 5 %: 26 of 530 canary requests failed (4.9 %), baseline 0.11 %.",
        "who": "linnet",
        "facts": (("Weight", "5 %"), ("Flag new-checkout", "back at 0 after 0.4 s")),
        "command": "linnet promote checkout --override",
        "link": "https://linnet.example.com/shop/checkout",
    }
    return Message(**{**fields, **changes})


class Inbox:
    """Keeps what it receives. Paths below /hang never answer while the inbox is open, /status/<n>/ answers with n.

    It has threads of its own, as the posting side has: nothing in it depends on the loop that is being tested.
    """

    def __init__(self, authority: trustme.CA) -> None:
        self.received: list[tuple[str, Any]] = []
        self.queries: list[dict[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.hung = 0
        self.refuse: list[int] = []
        self.closing = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.inbox = self
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def base(self) -> str:
        return f"https://localhost:{self.port}"

    async def stop(self) -> None:
        """Let go of what hangs and close; may be called twice."""
        self.closing.set()
        if self._thread.is_alive():
            await asyncio.to_thread(self._server.shutdown)
            await asyncio.to_thread(self._server.server_close)
            self._thread.join()

    async def wait_for(self, count: int) -> None:
        await self._until(lambda: len(self.received) >= count)

    async def wait_for_hung(self, count: int = 1) -> None:
        await self._until(lambda: self.hung >= count)

    def note(self) -> None:
        self._loop.call_soon_threadsafe(self._arrived.set)

    async def _until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            self._arrived.clear()
            await self._arrived.wait()


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    inbox: Inbox

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    @property
    def _inbox(self) -> Inbox:
        assert isinstance(self.server, _Server)
        return self.server.inbox

    def do_POST(self) -> None:
        inbox = self._inbox
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        path, _, query = self.path.partition("?")
        if path.startswith("/hang"):
            inbox.hung += 1
            inbox.note()
            inbox.closing.wait()
        if inbox.refuse or path.startswith("/status/"):
            self._answer(inbox.refuse.pop(0) if inbox.refuse else int(path.split("/")[2]))
            return
        inbox.received.append((path, body))
        inbox.queries.append(dict(parse_qsl(query, keep_blank_values=True)))
        inbox.headers.append(dict(self.headers))
        self._answer(200)
        inbox.note()

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Location", f"{self._inbox.base}/elsewhere")
        self.send_header("Content-Length", "2")
        self.end_headers()
        # Slack answers exactly this, and apprise insists on it.
        self.wfile.write(b"ok")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
        """Standard error is looked at for secrets; this server's own words are not the question."""
