"""Real HTTP with a record of it, for the providers of flag services behind HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

import aiohttp


class Reply(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


class Caller:
    """Real HTTP with a record of it; a test may act just before a request of one kind, lose its answer, or let all hang."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self.calls: list[tuple[str, str]] = []
        self.before: dict[str, Callable[[], Awaitable[None]]] = {}
        self.lose: set[str] = set()
        self.hanging = False

    async def request(self, method: str, url: str, *, headers: Mapping[str, str], data: bytes | None, deadline: float) -> Reply:
        self.calls.append((method, url))
        if (act := self.before.pop(method, None)) is not None:
            await act()
        if self.hanging:
            await asyncio.Event().wait()
        session = self._session = self._session or aiohttp.ClientSession()
        timeout = aiohttp.ClientTimeout(total=deadline)
        try:
            async with session.request(method, url, headers=headers, data=data, timeout=timeout, allow_redirects=False) as answer:
                reply = Reply(answer.status, answer.headers, await answer.read())
        except aiohttp.ClientError as error:
            raise OSError(str(error)) from error
        if method in self.lose:
            self.lose.remove(method)
            raise TimeoutError
        return reply

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
