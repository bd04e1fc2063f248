"""A flag on a real Unleash, the people around it, and what Unleash's own engine makes of what SDKs are sent."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

from UnleashClient.clients.async_unleash_client import AsyncUnleashClient
from UnleashClient.utils import InstanceAllowType
from yggdrasil_engine.engine import UnleashEngine

from flags.model import Converged, Desired, FlagRef, Owner
from flags.unleash import UnleashProvider
from flags.unleash_admin import UnleashSource
from flags.unleash_memory import Memory
from flags.unleash_witness import Witnesses
from tests.testbed.unleash import ADMIN, BACKEND, Unleash
from tests.unit.flags.caller import Caller
from tests.witness.flaglog import FlagLog

ME = Owner(cluster="prod", namespace="shop", name="checkout", uid="uid-1")
RIVAL = Owner(cluster="prod", namespace="shop", name="checkout-eu", uid="uid-2")
PRODUCTION = "production"


class UnleashWorld:
    """One new flag, off for everybody, on in no environment."""

    def __init__(self, server: Unleash, *, settle: float = 0.0, on: bool = False, token: str = ADMIN) -> None:
        self.server, self.now, self.settle = server, 1_000.0, settle
        self.flag = FlagRef(key=server.flag(on=(PRODUCTION,) if on else ()), source="unleash")
        self.other = server.flag()
        self.caller = Caller()
        self.owner = ME
        self.provider = self.driver(ME, token=token)
        self.rival = self.driver(RIVAL, token=token)

    def driver(self, owner: Owner, **source: Any) -> UnleashProvider:
        options = {"url": self.server.url, "token": ADMIN, "environment": PRODUCTION, "settle": self.settle, **source}
        return UnleashProvider(UnleashSource(**options), owner, self.caller, clock=lambda: self.now)

    def driver_with(self, witnesses: Witnesses, **source: Any) -> UnleashProvider:
        """A provider that asks a witness."""
        options = {"url": self.server.url, "token": ADMIN, "environment": PRODUCTION, "settle": 0.0, "client_token": BACKEND[PRODUCTION]}
        return UnleashProvider(UnleashSource(**{**options, **source}), ME, self.caller, witnesses, lambda: self.now)

    async def until_seen(self, provider: UnleashProvider, desired: Desired) -> None:
        """Asks as the daemon does, until the witness has no doubt."""
        async with asyncio.timeout(20):
            while not isinstance(await provider.verify(self.flag, desired, 0.0), Converged):
                await asyncio.sleep(0.1)

    async def close(self) -> None:
        await self.caller.close()

    # -- what SDKs make of it ------------------------------------------------------------------------------------------------------

    def on(self, ids: tuple[str, ...], track: str | None, **properties: str) -> set[str]:
        engine = self.engine()
        return {name for name in ids if self._enabled(engine, {"userId": name}, track, properties)}

    def on_anonymous(self, track: str | None) -> bool:
        engine = self.engine()
        return any(self._enabled(engine, {}, track, {}) for _ in range(50))  # a share by chance would show

    def engine(self) -> UnleashEngine:
        """The SDKs' engine with what they are sent, once the server sends all that was written."""
        last = max((entry.id for entry in self.log()), default=0)
        deadline = time.monotonic() + 15
        while True:
            payload = self.server.request("GET", "/api/client/features", token=BACKEND[PRODUCTION]).body
            if payload["meta"]["revisionId"] >= last:
                break
            assert time.monotonic() < deadline, "Unleash never sent what was written"
            time.sleep(0.05)
        engine = UnleashEngine()
        engine.take_state(json.dumps(payload))
        return engine

    def _enabled(self, engine: UnleashEngine, context: dict[str, Any], track: str | None, properties: Mapping[str, str]) -> bool:
        known = {**({} if track is None else {"track": track}), **properties}
        return bool(engine.is_enabled(self.flag.key, {**context, "properties": known}).is_enabled)

    # -- what people do ------------------------------------------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """The flag without times and ids, and without strategies of ours at 0 % that are nobody's."""
        return json.dumps([plain(self.server.feature(key)) for key in (self.flag.key, self.other)], sort_keys=True).encode()

    def person_sets(self, percent: int) -> None:
        self.patch(self.ours(), {"op": "replace", "path": "/parameters/rollout", "value": str(percent)})

    def person_disables(self) -> None:
        self.server.switch(self.flag.key, PRODUCTION, on=False)

    def person_opens_for_all(self) -> None:
        self.server.strategy(self.flag.key, PRODUCTION, rollout="100", title="everybody")
        self.server.switch(self.flag.key, PRODUCTION, on=True)

    def person_edits_another_flag(self) -> None:
        self.server.switch(self.other, "development", on=True)

    def another_flag_edited(self) -> bool:
        return self.server.enabled(self.other, "development")

    def patch(self, strategy: dict[str, Any], *operations: dict[str, Any]) -> None:
        self.server.patch(self.flag.key, PRODUCTION, strategy["id"], *operations)

    def strategies(self) -> list[dict[str, Any]]:
        return self.server.strategies(self.flag.key, PRODUCTION)

    def ours(self, role: str = "all") -> dict[str, Any]:
        return next(s for s in self.strategies() if (s["title"] or "").startswith("linnet ") and s["title"].endswith(f"#{role}"))

    def enabled(self) -> bool:
        return self.server.enabled(self.flag.key, PRODUCTION)

    def log(self) -> FlagLog:
        return FlagLog.read(self.server.url, ADMIN, self.flag.key).on(PRODUCTION)

    # -- for the contract ----------------------------------------------------------------------------------------------------------

    def calls(self) -> int:
        return len(self.caller.calls)

    def race(self, write: Callable[[], Awaitable[None]]) -> None:
        self.caller.before["PATCH"] = write

    def hang(self) -> None:
        self.caller.hanging = True


def plain(value: Any) -> Any:
    """A feature without what may differ after a rollback: times, ids, and our strategies at 0 %."""
    if isinstance(value, dict):
        # Unleash moves the lifecycle on by itself, some time after a flag was made or first used.
        dropped = ("id", "createdAt", "lastSeenAt", "yes", "no", "collaborators", "lifecycle")
        return {key: plain(item) for key, item in value.items() if key not in dropped}
    if isinstance(value, list):
        return [plain(item) for item in value if not _left_behind(item)]
    return value


def _left_behind(item: Any) -> bool:
    parameters = item.get("parameters", {}) if isinstance(item, dict) else {}
    return parameters.get("linnet") == "released" and parameters.get("rollout") == "0"


@asynccontextmanager
async def app(unleash: Unleash) -> AsyncIterator[AsyncUnleashClient]:
    """The application: Unleash's own SDK, which reports every second."""
    client = AsyncUnleashClient(
        url=f"{unleash.url}/api",
        app_name="shop",
        refresh_interval=1,
        metrics_interval=1,
        custom_headers={"Authorization": BACKEND[PRODUCTION]},
        cache=cast("Any", Memory()),
        multiple_instance_mode=InstanceAllowType.SILENTLY_ALLOW,
    )
    await client.initialize_client()
    try:
        yield client
    finally:
        await client.destroy()
