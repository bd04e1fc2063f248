"""The sandbox's API server with our CRDs: what it tells a user of the demo is what the real server would."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest_asyncio

from daemon.api import names
from daemon.api.crds import crd
from daemon.api.kinds import KINDS, kind_named
from daemon.sandbox.furnish import furnished
from daemon.sandbox.server import ApiServer
from tests.unit.api.objects import MORE_GOOD, make, wrong_objects


class Server:
    """A client of the sandbox that knows our kinds."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session = session
        self.url = url

    async def post(self, path: str, body: dict[str, Any]) -> tuple[int, str]:
        headers = {"Authorization": "Bearer admin-token"}
        async with self.session.post(f"{self.url}{path}", json=body, headers=headers) as answer:
            return answer.status, await answer.text()

    async def create(self, raw: dict[str, Any], *, dry_run: bool = False) -> tuple[int, str]:
        query = "?fieldValidation=Strict" + ("&dryRun=All" if dry_run else "")
        return await self.post(f"/apis/{names.API_VERSION}/namespaces/shop/{kind_named(raw['kind']).plural}{query}", raw)


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Server]:
    """A sandbox with our CRDs and a namespace."""
    async with ApiServer(furnished(), users={"admin-token": "admin"}) as api, aiohttp.ClientSession() as session:
        client = Server(session, api.url)
        assert (await client.post("/api/v1/namespaces", {"metadata": {"name": "shop"}}))[0] == 201
        for kind in KINDS:
            status, text = await client.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd(kind))
            assert status == 201, text
        yield client


async def test_the_sandbox_refuses_wrong_objects_by_the_name_of_the_field(server: Server) -> None:
    """Every row of the table that the real server refuses, in the same words where they are ours."""
    missed = []
    for case in wrong_objects():
        status, text = await server.create(case.raw, dry_run=True)
        plain = text.replace('\\"', '"')
        if not case.server and status != 201:
            missed.append(f"{case.name}: should be accepted, got {text}")
        elif case.server and (status < 400 or case.server_field not in plain or case.says not in plain):
            missed.append(f"{case.name}: wanted {case.server_field} and {case.says!r}, got {status} {text}")
    assert missed == []


async def test_the_sandbox_accepts_good_objects(server: Server) -> None:
    """What the documentation shows, of every kind."""
    for index, (kind, spec) in enumerate((kind, spec) for kind, specs in MORE_GOOD.items() for spec in specs):
        status, text = await server.create(make(kind, spec, name=f"good-{index}"))
        assert status == 201, text
