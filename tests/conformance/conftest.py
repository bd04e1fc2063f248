"""The two servers. What differs between them is here, and only here."""

from __future__ import annotations

import secrets
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import yaml

from daemon.sandbox.furnish import furnished
from daemon.sandbox.server import ApiServer
from tests.conformance.client import Api

WIDGETS: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "widgets.yaml").read_text())


async def _sandbox(stack: AsyncExitStack) -> Api:
    server = await stack.enter_async_context(ApiServer(furnished(), users={"admin-token": "admin"}))
    session = await stack.enter_async_context(aiohttp.ClientSession())
    return Api(session=session, url=server.url, token="admin-token", tls=False, ns="")


async def _real(stack: AsyncExitStack, plane: Any) -> Api:
    session = await stack.enter_async_context(aiohttp.ClientSession())
    tls = ssl.create_default_context(cafile=str(plane.ca))
    return Api(session=session, url=plane.url, token=plane.token, tls=tls, ns="")


@pytest_asyncio.fixture(params=["sandbox", pytest.param("real", marks=pytest.mark.cluster)])
async def api(request: pytest.FixtureRequest) -> AsyncIterator[Api]:
    """A server with a fresh namespace."""
    plane = request.getfixturevalue("control_plane") if request.param == "real" else None
    async with AsyncExitStack() as stack:
        bare = await (_sandbox(stack) if plane is None else _real(stack, plane))
        name = f"c-{secrets.token_hex(4)}"
        (await bare.raw("POST", "/api/v1/namespaces", {"metadata": {"name": name}})).must(201)
        here = bare.elsewhere(name)
        # The account that admission gives to pods where it is not there by itself.
        await here.create("serviceaccounts", {"metadata": {"name": "default"}})
        yield here
        await here.raw("DELETE", f"/api/v1/namespaces/{name}")


@pytest_asyncio.fixture
async def widgets(api: Api) -> Api:
    """A server that serves the custom resource `widgets`."""
    created = await api.raw("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", WIDGETS)
    assert created.status in (201, 409), created.body
    await api.eventually(lambda: api.list("widgets"), 200)
    return api
