"""What watching many flags costs LaunchDarkly, by the contract server's record, and that nothing is missed for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
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
from flags.launchdarkly import LaunchDarklyProvider
from flags.launchdarkly_api import LaunchDarklySource
from flags.model import Desired, FlagRef, Gate, Owner
from tests.unit.flags.launchdarkly_server import ENVIRONMENT, PROJECT, TOKEN, LaunchDarkly

OWNER = Owner(cluster="prod", namespace="shop", name="web", uid="uid")
KEYS = [f"flag-{number}" for number in range(6)]
LOG = ("GET", "/api/v2/auditlog")


class Tokens:
    async def read(self, _namespace: str, _ref: object) -> str:
        return TOKEN


class Watched:
    """A board that watches flags of ours at 10 %, settled long ago, for two Canaries; time goes on when the test says so."""

    def __init__(self, server: LaunchDarkly, url: str) -> None:
        self.server, self.url, self.now = server, url, 2_000_000_000.0
        self.http = Http()
        self.board = FlagBoard(FlagSources(cast("Any", None), self.http, cast("Any", Tokens())), "prod", lambda: self.now)

    async def take(self) -> None:
        """As a release did before."""
        found = LaunchDarklySource(token=TOKEN, project=PROJECT, environment=ENVIRONMENT, url=self.url, settle=0.0)
        for key in KEYS:
            await LaunchDarklyProvider(found, OWNER, self.http).apply(
                FlagRef(key=key, source="default"), Desired(percent=10, gate=Gate()), None
            )

    def resolved(self, number: int) -> Resolved:
        keys = KEYS[number::2]
        ref = {"name": "ld", "key": "token"}
        spec = {"url": self.url, "project": PROJECT, "environment": ENVIRONMENT, "tokenSecretRef": ref, "settle": "0s"}
        body = {"metadata": {"name": "default", "namespace": "shop", "uid": "s"}, "spec": {"type": "LaunchDarkly", "launchDarkly": spec}}
        source = msgspec.convert(body, ours.FlagSource)
        written = [
            FlagStatus(name=k, key=k, source="default", wanted=10, written=10, written_at="2026-01-01T00:00:00Z", seen=True) for k in keys
        ]
        metadata = SimpleNamespace(uid="uid", annotation=lambda _key: None)
        canary = SimpleNamespace(
            key=("shop", f"web-{number}"), namespace="shop", name="web", metadata=metadata, status=SimpleNamespace(flags=written)
        )
        uses = tuple(FlagUse(name=key, key=key, source=source) for key in keys)
        steps = [Step(name="one", weight=5)]
        made = SimpleNamespace(canary=canary, flags=uses, spec=CanarySpec(flags=[Flag(name=key) for key in keys], steps=steps))
        return cast("Resolved", made)

    async def poll(self) -> dict[str, Any]:
        """The views of the next interval, by flag."""
        self.now += FRESH + 1
        return {view.key: view for number in (0, 1) for view in await self.board.views(self.resolved(number))}

    def asked(self) -> tuple[int, list[str]]:
        """How often the log was asked, and which flags were read, since the last time."""
        found, self.server.requests[:] = list(self.server.requests), []
        return found.count(LOG), sorted({path.rpartition("/")[2] for _, path in found if "/flags/" in path})


@pytest.fixture
async def watched() -> AsyncIterator[Watched]:
    server = LaunchDarkly()
    made = Watched(server, await server.start())
    await made.take()
    made.asked()
    yield made
    await made.http.close()
    await server.stop()


async def test_a_poll_of_many_flags_is_one_request(watched: Watched) -> None:
    """Each flag is read once; then an interval costs one request for both Canaries, until the log names a flag."""
    views = await watched.poll()
    assert {(v.seen, v.percent, v.error, v.drift) for v in views.values()} == {(True, 10, "", None)}
    assert watched.asked() == (1, KEYS)
    for _ in range(3):
        await watched.poll()
        assert watched.asked() == (1, [])
    watched.server.happened("proj/elsewhere:env/production:flag/flag-1", "member/bob")
    await watched.poll()
    assert watched.asked() == (1, [])
    watched.server.person({"kind": "turnFlagOff"}, key="flag-3")
    views = await watched.poll()
    assert watched.asked() == (1, ["flag-3"])
    assert [key for key, view in views.items() if view.drift == "lower"] == ["flag-3"]


async def test_a_segment_or_a_flood_has_every_flag_read(watched: Watched) -> None:
    """What hangs on a segment is not said, and an answer holds twenty entries."""
    await watched.poll()
    watched.asked()
    watched.server.happened("proj/shop:env/production:segment/beta")
    await watched.poll()
    assert watched.asked() == (1, KEYS)
    for _ in range(21):
        watched.server.happened("proj/elsewhere:env/production:flag/x")
    await watched.poll()
    assert watched.asked() == (1, KEYS)


async def test_an_account_that_may_not_read_the_log_has_each_flag_read(watched: Watched) -> None:
    """As before there was a log: one by one, each interval, and nothing is missed."""
    watched.server.log_hidden = True
    await watched.poll()
    watched.asked()
    watched.server.person({"kind": "turnFlagOff"}, key="flag-2")
    views = await watched.poll()
    assert watched.asked() == (1, KEYS)
    assert views["flag-2"].drift == "lower"
