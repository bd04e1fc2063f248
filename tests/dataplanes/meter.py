"""Requests through a gateway, counted by the version that answered: kept connections, no retry, nothing between the socket and the count."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import urlsplit

CONNECTIONS = 8
ANSWER_WITHIN = 10.0


@dataclass
class Seen:
    """What came back: how many by version, and every request that did not get its answer."""

    versions: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        return sum(self.versions.values()) + len(self.failures)


class Client:
    """HTTP/1.1 over connections that stay open; one that the gateway closes between two requests is opened again, as clients do."""

    def __init__(self, url: str, host: str) -> None:
        parts = urlsplit(url)
        self._at = (parts.hostname or "", parts.port or 80)
        self._host = host
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, path: str, seen: Seen, method: str = "GET", fields: str = "") -> None:
        """`fields`: more lines of the head, each with its end."""
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                status, body = await self._ask(path, method, fields)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, LookupError) as e:
            seen.failures.append(f"{path}: {type(e).__name__}: {e}")
            return
        if status == 200:
            seen.versions[body] += 1
        else:
            seen.failures.append(f"{path}: {status}: {body}")

    async def _ask(self, path: str, method: str, fields: str) -> tuple[int, str]:
        kept = bool(self._free)
        reader, writer = self._free.pop() if kept else await asyncio.open_connection(*self._at)
        stays = False
        try:
            writer.write(f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\n{fields}\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            kept = False  # what comes from here on is an answer, and is not asked for twice
            answered = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
            body = await reader.readexactly(int(answered.get("content-length", "0")))
            stays = answered.get("connection") != "close"
            return int(head.split(" ", 2)[1]), body.decode()
        except asyncio.IncompleteReadError as e:
            if not kept or e.partial:
                raise
        finally:
            if stays:
                self._free.append((reader, writer))
            else:
                writer.close()  # whatever ended it, cancellation too: no transport is left to the collector
        return await self._ask(path, method, fields)

    def close(self) -> None:
        for _, writer in self._free:
            writer.close()
        self._free.clear()


async def measure(url: str, host: str, requests: int) -> Seen:
    """As many as asked, as fast as a few connections allow."""
    seen, client, left = Seen(), Client(url, host), iter(range(requests))

    async def work() -> None:
        for number in left:
            await client.ask(f"/{number}", seen)

    await asyncio.gather(*(work() for _ in range(CONNECTIONS)))
    client.close()
    return seen


class Steady:
    """A steady stream while something else goes on; every fortieth request is held for two seconds by the app."""

    def __init__(self, url: str, host: str, rate: int = 200) -> None:
        self._client, self._rate = Client(url, host), rate
        self.seen = Seen()
        self._stop = asyncio.Event()

    async def __aenter__(self) -> Seen:
        self._task = asyncio.create_task(self._run())
        return self.seen

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await self._task
        self._client.close()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        began, number = loop.time(), 0
        async with asyncio.TaskGroup() as group:
            while not self._stop.is_set():
                due = int((loop.time() - began) * self._rate)
                while number < due:
                    group.create_task(self._client.ask(f"/{number}{'?sleep=2' if number % 40 == 0 else ''}", self.seen))
                    number += 1
                await asyncio.sleep(1 / self._rate)
