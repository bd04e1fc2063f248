"""Who may say that a flag changed, and how little of what they say is believed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from daemon.kube.errors import Unavailable
from daemon.web.answers import refusals
from daemon.web.flagnews import READ_AT_MOST, FlagNews

PATH = "/api/v1/namespaces/shop/flagsources/unleash/changed"


class Source:
    """One source with this secret; keeps what it is told of."""

    def __init__(self) -> None:
        self.kept: str | None = "s3cret"
        self.told: list[str | None] = []
        self.away = False

    async def secret(self, namespace: str, name: str) -> str | None:
        assert (namespace, name) == ("shop", "unleash")
        if self.away:
            raise Unavailable("connection refused")
        return self.kept

    async def changed(self, namespace: str, name: str, key: str | None) -> int:
        assert (namespace, name) == ("shop", "unleash")
        self.told.append(key)
        return 1


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
async def client(source: Source) -> AsyncIterator[TestClient[Any, Any]]:
    app = web.Application(middlewares=[refusals])
    FlagNews(source).add_to(app)
    async with TestClient(TestServer(app)) as made:
        yield made


@pytest.mark.parametrize("kept", [None, "", "s3cret"])
@pytest.mark.parametrize("shown", [None, "", "Bearer ", "s3cre", "s3cret2", "S3CRET", "bearer bearer s3cret"])
async def test_nobody_is_let_in_without_the_secret(
    source: Source, client: TestClient[Any, Any], kept: str | None, shown: str | None
) -> None:
    """An empty secret, and one that is not there, is nobody's; nothing is said of it in the answer."""
    source.kept = kept
    async with client.post(PATH, headers={} if shown is None else {"Authorization": shown}) as answer:
        assert answer.status == 401
        assert "s3cret" not in await answer.text()
    assert source.told == []


@pytest.mark.parametrize(
    ("body", "flag"),
    [
        (b'{"type": "feature-strategy-update", "featureName": "new", "data": {}}', "new"),
        (b'{"type": "segment-updated", "featureName": null}', None),
        (b"", None),
        (b"not json", None),
        (b"[1]", None),
        (b'{"featureName": 7}', None),
        (b"\xff\xfe", None),
        (b'{"featureName": "new", "data": "' + b"x" * READ_AT_MOST + b'"}', None),
    ],
)
async def test_a_body_names_a_flag_or_says_that_any_may_have_changed(
    source: Source, client: TestClient[Any, Any], body: bytes, flag: str | None
) -> None:
    """What is not understood, and what is too long to be read, is news all the same."""
    async with client.post(PATH, data=body, headers={"Authorization": "s3cret"}) as answer:
        assert (answer.status, await answer.json()) == (200, {"told": 1})
    assert source.told == [flag]


async def test_a_replica_that_cannot_look_says_so(source: Source, client: TestClient[Any, Any]) -> None:
    """The API server is away: 503, and no word of whether the secret was right."""
    source.away = True
    async with client.post(PATH, headers={"Authorization": "s3cret"}) as answer:
        assert (answer.status, (await answer.json())["reason"]) == (503, "Unavailable")
