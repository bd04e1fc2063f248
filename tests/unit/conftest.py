"""What the fast suites share: the client by which Linnet asks the outside, and a server that says what it is told to."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from daemon.control.http import Http
from tests.unit.analyzers.sources import Server, scripted


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    client = Http()
    yield client
    await client.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with scripted() as found:
        yield found
