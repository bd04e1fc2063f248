"""The edge of `examples`, on a real Envoy: the bucket that it names is the one that SDKs and routes go by, and nobody else's word counts."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

import pytest

from flags.buckets import bucket
from tests.conftest import missing_parts
from tests.testbed import netns
from tests.testbed.edge import SEEN, Edge

pytestmark = [pytest.mark.cluster, pytest.mark.dataplane]

GROUP = "linnet"
SEED = 20261124
LETTERS = "abcXYZ0123456789-_.@|äßéñ日本語🙂ΩЖ"


@pytest.fixture(scope="module")
def edge() -> Iterator[Edge]:
    """Before nothing: what it answers is an error of its own, with the header that it would have passed on."""
    reason = netns.unavailable() or missing_parts("envoy")
    if reason:
        pytest.skip(reason)
    name = netns.create()
    try:
        with netns.entered(name):
            made = Edge("http://127.0.0.1:9")
            try:
                yield made
            finally:
                made.stop()
    finally:
        netns.delete(name)


def told(edge: Edge, heads: Sequence[str]) -> list[str | None]:
    """What the gateway would be told of requests with these lines of the head, over one connection."""
    at = urlsplit(edge.url)

    async def run() -> list[str | None]:
        reader, writer = await asyncio.open_connection(at.hostname, at.port)
        found = []
        try:
            for head in heads:
                writer.write(f"GET / HTTP/1.1\r\nHost: shop.test\r\n{head}\r\n".encode())
                async with asyncio.timeout(30):
                    answer = (await reader.readuntil(b"\r\n\r\n")).decode()
                    fields = dict(line.lower().split(": ", 1) for line in answer.split("\r\n")[1:] if ": " in line)
                    await reader.readexactly(int(fields.get("content-length", "0")))
                found.append(fields.get(SEEN.lower()))
        finally:
            writer.close()
            await writer.wait_closed()
        return found

    return asyncio.run(run())


def test_the_edge_names_the_bucket_of_the_sdks(edge: Edge) -> None:
    """Ids of all lengths and of letters beyond ASCII: the tail of murmur3 is where implementations differ."""
    dice = random.Random(SEED)
    ids = [f"user-{n}" for n in range(300)]
    ids += ["".join(dice.choices(LETTERS, k=length)) for length in range(1, 41) for _ in range(8)]
    assert told(edge, [f"X-User: {user}\r\n" for user in ids]) == [str(bucket(GROUP, user)) for user in ids]


def test_nobody_chooses_a_bucket(edge: Edge) -> None:
    """One that a client sends is replaced, twice or in other letters; without a user there is none."""
    mine = str(bucket(GROUP, "ann"))
    claims = ("X-Linnet-Bucket: 1\r\n", "x-linnet-bucket: 1\r\nX-LINNET-BUCKET: 2\r\n", "X-Linnet-Bucket:\r\n")
    assert told(edge, [f"X-User: ann\r\n{claim}" for claim in claims]) == [mine] * 3
    assert told(edge, [*claims, "", "X-User:\r\nX-Linnet-Bucket: 1\r\n"]) == [None] * 5
