"""Who is told: routing from a Canary to a webhook, by apprise, and what is said where a Notifier is wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from daemon.api.sources import SecretRef
from daemon.control import daemon
from daemon.control.secrets import SecretMissing, SecretReader
from daemon.kube import config
from daemon.kube.client import Client
from daemon.kube.transport import Transport
from tests.serving import serving
from tests.unit.control.cluster import CATALOGUE, SHOP, Cluster, Object
from tests.unit.control.world import World, linnet


class Hooks:
    """A webhook that keeps what it got: (path, body). While it is not `open`, what is posted to it hangs."""

    def __init__(self) -> None:
        self.got: list[tuple[str, Any]] = []
        self.port = 0
        self.open = asyncio.Event()
        self.open.set()
        self._news = asyncio.Event()

    async def take(self, request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        await self.open.wait()
        self.got.append((request.path, body))
        self._news.set()
        return web.Response(text="ok")

    async def until(self, *paths: str) -> None:
        async with asyncio.timeout(15):
            while not set(paths) <= {path for path, _ in self.got}:
                self._news.clear()
                await self._news.wait()

    def texts(self, path: str) -> list[str]:
        return [json.dumps(body, ensure_ascii=False) for at, body in self.got if at == path]

    def url(self, path: str) -> str:
        return f"json://127.0.0.1:{self.port}/{path}"


@pytest.fixture
async def hooks() -> AsyncIterator[Hooks]:
    found = Hooks()
    app = web.Application()
    app.router.add_post("/{path:.*}", found.take)
    async with serving(app) as url:
        found.port = int(url.rpartition(":")[2])
        yield found


def notifier(name: str, secret: str = "hooks", key: str = "url", namespace: str = SHOP, **spec: Any) -> Object:
    return linnet("Notifier", name, {"urlSecretRef": {"name": secret, "key": key}, **spec}, namespace=namespace)


async def released(world: World, *notify: Object) -> None:
    """A release that is started and ended by a person, with these routes."""
    world.open(canary_spec={"notify": list(notify)})
    await world.adopted()
    world.release("app:v2")
    await world.phases("Progressing")
    world.say("abort")
    await world.phases("Held", "Idle")


async def test_the_notifier_that_is_named_hears(world: World, hooks: Hooks) -> None:
    """Of two Notifiers the named one, with the sentence, the step's numbers and a command to type."""
    world.secret("hooks", url=hooks.url("one"), other=hooks.url("two"))
    world.apply(notifier("one"), notifier("two", key="other"))
    await released(world, {"notifierRef": {"name": "two"}})
    await hooks.until("/two")
    await world.told("RolledBack")
    async with asyncio.timeout(10):
        while not any("rolled back" in text for text in hooks.texts("/two")):
            await asyncio.sleep(0.02)
    assert hooks.texts("/one") == []
    assert "linnet status web -n shop" in "".join(hooks.texts("/two"))


async def test_only_the_events_that_are_named_are_sent(world: World, hooks: Hooks) -> None:
    """One hears of the end alone, another of everything."""
    world.secret("hooks", url=hooks.url("some"), other=hooks.url("all"))
    world.apply(notifier("some"), notifier("all", key="other"))
    await released(world, {"notifierRef": {"name": "some"}, "events": ["RolledBack"]}, {"notifierRef": {"name": "all"}})
    await hooks.until("/some", "/all")
    async with asyncio.timeout(10):
        while not any("rolled back" in text for text in hooks.texts("/all")):
            await asyncio.sleep(0.02)
    assert len(hooks.texts("/some")) == 1
    assert "rolled back" in hooks.texts("/some")[0]
    assert any("starts" in text for text in hooks.texts("/all"))


@pytest.mark.parametrize(("ref", "path"), [({}, "/one"), ({"secret": "more"}, "/two"), ({"key": "other"}, "/three")])
async def test_the_secret_and_key_that_are_named_say_where(world: World, hooks: Hooks, ref: dict[str, str], path: str) -> None:
    """Each alone sends the message elsewhere."""
    world.secret("hooks", url=hooks.url("one"), other=hooks.url("three"))
    world.secret("more", url=hooks.url("two"))
    world.apply(notifier("team", **ref))
    await released(world, {"notifierRef": {"name": "team"}, "events": ["RolledBack"]})
    await hooks.until(path)
    assert {at for at, _ in hooks.got} == {path}


async def test_a_notifier_of_the_catalogue_serves_whom_it_admits(world: World, hooks: Hooks) -> None:
    """Its Secret is read in the catalogue's namespace, which the tenant cannot read."""
    world.secret("hooks", CATALOGUE, url=hooks.url("platform"))
    world.apply(notifier("platform", namespace=CATALOGUE, allowedNamespaces=[SHOP]))
    world.apply(notifier("closed", namespace=CATALOGUE))
    await released(world, {"notifierRef": {"name": "closed"}}, {"notifierRef": {"name": "platform"}, "events": ["RolledBack"]})
    await hooks.until("/platform")
    assert "allowedNamespaces" in await world.told("NotifierNotAdmitted")


async def test_a_notifier_that_is_missing_is_said_and_stops_nothing(world: World) -> None:
    """An Event on the Canary names the nearest one; the release goes its way."""
    world.apply(notifier("payments"))
    await released(world, {"notifierRef": {"name": "paymnts"}})
    assert "did you mean payments?" in await world.told("NotifierMissing", "Canary")


@pytest.mark.parametrize(
    ("secret", "says"), [(None, "does not exist"), ({"else": "x"}, "has no key url"), ({"url": "planted-and-no-address"}, "no address")]
)
async def test_a_wrong_secret_is_said_without_its_content(world: World, secret: dict[str, str] | None, says: str) -> None:
    """The Event names Secret and key, or what an address looks like, and never the value."""
    if secret is not None:
        world.secret("hooks", **secret)
    world.apply(notifier("team"))
    await released(world, {"notifierRef": {"name": "team"}})
    told = await world.told("NotifierInvalid", "Canary")
    assert says in told
    assert "planted" not in json.dumps(world.store.list("events", None))


async def test_a_changed_secret_is_read_again_within_a_minute(tmp_path: Path) -> None:
    """Half a minute on it is asked for again; until then the API server is left alone."""
    now = 1000.0
    cluster = Cluster(tmp_path)
    async with cluster.running(policies=False), Transport(config.load(str(cluster.kubeconfig))) as transport:
        reader = SecretReader(Client(transport), clock=lambda: now)
        ref = SecretRef(name="hooks", key="url")
        with pytest.raises(SecretMissing, match="Secret shop/hooks does not exist"):
            await reader.read(SHOP, ref)
        cluster.secret("hooks", url="old\n")
        assert await reader.read(SHOP, ref) == "old"
        cluster.secret("hooks", url="new")
        assert await reader.read(SHOP, ref) == "old"
        now += 60
        assert await reader.read(SHOP, ref) == "new"
        with pytest.raises(SecretMissing, match="has no key token"):
            await reader.read(SHOP, SecretRef(name="hooks", key="token"))


async def test_messages_that_wait_when_the_daemon_is_stopped_still_go_out(tmp_path: Path, hooks: Hooks) -> None:
    """A leader that is stopped while a webhook is slow hands over all that was told, and in order."""
    async with AsyncExitStack() as stack:
        world = World(tmp_path)
        await stack.enter_async_context(world.running())
        async with world.linnet(leader_election=True):
            world.secret("hooks", url=hooks.url("slow"))
            world.apply(notifier("one"))
            hooks.open.clear()
            await released(world, {"notifierRef": {"name": "one"}})
            asyncio.get_running_loop().call_soon(hooks.open.set)
        kinds = [next(k for k in ("starts", "step 1/", "rolled back") if k in text) for text in hooks.texts("/slow")]
        assert (kinds[0], kinds[-1]) == ("starts", "rolled back"), kinds


async def test_a_webhook_that_hangs_does_not_keep_the_daemon_from_ending(
    tmp_path: Path, hooks: Hooks, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Messages have a budget: at its end what is left is logged as dropped, by kind and Notifier, and the process goes."""
    monkeypatch.setattr(daemon, "LAST_MESSAGES", 0.3)
    async with AsyncExitStack() as stack:
        world = World(tmp_path)
        await stack.enter_async_context(world.running())
        hooks.open.clear()
        async with asyncio.timeout(60):
            async with world.linnet(leader_election=True):
                world.secret("hooks", url=hooks.url("hung"))
                world.apply(notifier("one"))
                await released(world, {"notifierRef": {"name": "one"}})
        dropped = [r.getMessage() for r in caplog.records if "Dropped" in r.getMessage()]
        assert any("RolledBack to shop/one" in text for text in dropped), dropped
        assert hooks.texts("/hung") == []
        hooks.open.set()
