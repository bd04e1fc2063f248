"""What watching many flags costs Unleash, by the record of a proxy, and that nothing is missed for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from daemon.api.canary import CanarySpec, Flag, Step
from daemon.api.status import FlagStatus
from daemon.control import objects as ours
from daemon.control.flagging import FRESH, FlagBoard
from daemon.control.flagsources import FlagSources
from daemon.control.http import Http
from daemon.control.resolved import FlagUse, Resolved
from flags.model import Desired, FlagRef, Gate, Owner
from flags.unleash import UnleashProvider
from flags.unleash_admin import UnleashSource
from tests.testbed.unleash import ADMIN, Unleash
from tests.unleash.proxies import Counting
from tests.unleash.world import PRODUCTION

pytestmark = pytest.mark.unleash

OWNER = Owner(cluster="prod", namespace="shop", name="web", uid="uid")
LOG = ("GET", "/api/admin/search/events?limit=20")
FAR = ("GET", "/api/admin/search/events?limit=1000")
FLAGS = 6


class Tokens:
    async def read(self, _namespace: str, _ref: object) -> str:
        return ADMIN


class Watched:
    """A board that watches flags of ours at 10 %, settled long ago, through a proxy; time goes on when the test says so."""

    def __init__(self, unleash: Unleash, proxy: Counting) -> None:
        self.unleash, self.proxy, self.now = unleash, proxy, 2_000_000_000.0
        self.keys = [unleash.flag() for _ in range(FLAGS)]
        self.http = Http()
        self.board = FlagBoard(FlagSources(cast("Any", None), self.http, cast("Any", Tokens())), "prod", lambda: self.now)

    async def take(self) -> None:
        """As a release did before."""
        found = UnleashSource(url=self.unleash.url, token=ADMIN, environment=PRODUCTION, settle=0.0)
        for key in self.keys:
            await UnleashProvider(found, OWNER, self.http).apply(
                FlagRef(key=key, source="default"), Desired(percent=10, gate=Gate(), stickiness="userId"), None
            )

    def resolved(self, number: int) -> Resolved:
        """One of two Canaries that share the source; a Canary has eight flags at most."""
        keys = self.keys[number::2]
        spec = {"url": self.proxy.url, "environment": PRODUCTION, "tokenSecretRef": {"name": "unleash", "key": "token"}, "settle": "0s"}
        body = {"metadata": {"name": "default", "namespace": "shop", "uid": "s"}, "spec": {"type": "Unleash", "unleash": spec}}
        source = msgspec.convert(body, ours.FlagSource)
        written = [
            FlagStatus(name=k, key=k, source="default", wanted=10, written=10, written_at="2026-01-01T00:00:00Z", seen=True) for k in keys
        ]
        canary = SimpleNamespace(
            key=("shop", f"web-{number}"),
            namespace="shop",
            name="web",
            metadata=SimpleNamespace(uid="uid", annotation=lambda _key: None),
            status=SimpleNamespace(flags=written),
        )
        flags = [Flag(name=key, stickiness="userId") for key in keys]
        uses = tuple(FlagUse(name=key, key=key, source=source) for key in keys)
        made = SimpleNamespace(canary=canary, flags=uses, spec=CanarySpec(flags=flags, steps=[Step(name="one", weight=5)]))
        return cast("Resolved", made)

    async def poll(self) -> dict[str, Any]:
        """The views of the next interval, by flag."""
        self.now += FRESH + 1
        return await self.views()

    async def views(self) -> dict[str, Any]:
        return {view.key: view for number in (0, 1) for view in await self.board.views(self.resolved(number))}

    def read(self) -> list[str]:
        """Flags that were read since the last time; the event log must have been asked once at most."""
        asked = self.proxy.take()
        assert asked.count(LOG) <= 1
        return sorted({path.split("/features/")[1].split("/")[0] for _, path in asked if "/features/" in path})

    def ours(self, key: str) -> str:
        return str(next(s["id"] for s in self.unleash.strategies(key, PRODUCTION) if (s["title"] or "").startswith("linnet ")))


@pytest.fixture
async def watched(unleash: Unleash) -> AsyncIterator[Watched]:
    async with Counting(unleash.url).serving() as proxy:
        made = Watched(unleash, proxy)
        await made.take()
        yield made
        await made.http.close()


async def test_a_poll_of_many_flags_is_one_request(watched: Watched) -> None:
    """Each flag is read once; from then on an interval costs one request for both Canaries, and passes within it none."""
    views = await watched.poll()
    assert {(v.seen, v.percent, v.error, v.drift) for v in views.values()} == {(True, 10, "", None)}
    assert watched.read() == sorted(watched.keys)
    for _ in range(3):
        await watched.poll()
        assert {v.percent for v in (await watched.views()).values()} == {10}
        assert watched.proxy.take() == [LOG]


def lowered(watched: Watched, key: str) -> None:
    change = {"op": "replace", "path": "/parameters/rollout", "value": "3"}
    watched.unleash.patch(key, PRODUCTION, watched.ours(key), change)


def renamed(watched: Watched, key: str) -> None:
    watched.unleash.patch(key, PRODUCTION, watched.ours(key), {"op": "replace", "path": "/title", "value": "mine"})


def switched_off(watched: Watched, key: str) -> None:
    watched.unleash.switch(key, PRODUCTION, on=False)


def opened(watched: Watched, key: str) -> None:
    watched.unleash.strategy(key, PRODUCTION, rollout="100", title="everybody")


def deleted(watched: Watched, key: str) -> None:
    place = f"/projects/default/features/{key}/environments/{PRODUCTION}/strategies/{watched.ours(key)}"
    watched.unleash.admin("DELETE", place)


@pytest.mark.parametrize(
    ("hand", "what"), [(lowered, "lower"), (renamed, "lower"), (switched_off, "lower"), (opened, "higher"), (deleted, "lower")]
)
async def test_a_person_s_hand_is_noticed_by_the_next_poll(watched: Watched, hand: Callable[[Watched, str], None], what: str) -> None:
    """Whatever it is, in the environment at hand, and only that flag is read."""
    await watched.poll()
    watched.proxy.take()
    key = watched.keys[3]
    hand(watched, key)
    views = await watched.poll()
    assert {k: v.drift for k, v in views.items() if v.drift} == {key: what}
    assert watched.read() == [key]


async def test_changes_elsewhere_cost_no_reading(watched: Watched) -> None:
    """Another environment, another flag, a new account."""
    await watched.poll()
    watched.proxy.take()
    watched.unleash.strategy(watched.keys[0], "development", rollout="100")
    watched.unleash.flag()
    watched.unleash.person("newcomer")
    await watched.poll()
    assert watched.proxy.take() == [LOG]


async def test_a_segment_that_changes_concerns_every_flag(watched: Watched) -> None:
    """Its event names no flag, so all are read once."""
    await watched.poll()
    watched.proxy.take()
    watched.unleash.admin("POST", "/segments", {"name": f"s-{watched.keys[0]}", "constraints": []})
    await watched.poll()
    assert watched.read() == sorted(watched.keys)


async def test_more_changes_than_an_answer_holds_are_looked_up_further_back(watched: Watched) -> None:
    """A busy project: 30 events of other flags, and one hand before them, which is found without reading all."""
    await watched.poll()
    watched.proxy.take()
    lowered(watched, watched.keys[5])
    for _ in range(30):
        watched.unleash.flag()
    views = await watched.poll()
    assert [k for k, v in views.items() if v.drift] == [watched.keys[5]]
    asked = watched.proxy.take()
    assert asked.count(LOG) == asked.count(FAR) == 1
    assert {path.split("/features/")[1] for _, path in asked if "/features/" in path} == {watched.keys[5]}


async def test_a_source_that_is_away_is_asked_once_for_all_its_flags(watched: Watched) -> None:
    """Every flag has the error, and one request was made."""
    await watched.poll()
    watched.proxy.upstream = "http://127.0.0.1:9"
    watched.proxy.take()
    views = await watched.poll()
    assert all(view.error and view.retryable for view in views.values())
    assert len(watched.proxy.take()) == 1
    watched.proxy.upstream = watched.unleash.url
    views = await watched.poll()
    assert {(v.percent, v.error) for v in views.values()} == {(10, "")}
