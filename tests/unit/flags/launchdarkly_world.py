"""A flag on the contract server, and what the vendor's own SDK makes of its state."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ldclient import Config, Context
from ldclient.client import LDClient
from ldclient.integrations import Files

from flags.launchdarkly import LaunchDarklyProvider
from flags.launchdarkly_api import LaunchDarklySource
from flags.model import FlagRef, Owner
from tests.unit.flags.caller import Caller
from tests.unit.flags.launchdarkly_server import ENVIRONMENT, PROJECT, TOKEN, LaunchDarkly

FLAG = FlagRef(key="new-checkout", source="ld")
ME = Owner(cluster="prod", namespace="shop", name="checkout", uid="uid-1")
RIVAL = Owner(cluster="prod", namespace="shop", name="checkout-eu", uid="uid-2")
ON, OFF = "new-checkout-true", "new-checkout-false"


class LaunchDarklyWorld:
    """For the contract."""

    def __init__(self, server: LaunchDarkly, url: str, settle: float = 15.0) -> None:
        self.server, self.url, self.flag = server, url, FLAG
        self.now, self.settle = 1_000.0, settle
        self.caller = Caller()
        self.provider = self.driver(ME)
        self.rival = self.driver(RIVAL)

    def driver(self, owner: Owner, **more: Any) -> LaunchDarklyProvider:
        options = {"url": self.url, "token": TOKEN, "project": PROJECT, "environment": ENVIRONMENT, "settle": self.settle, **more}
        return LaunchDarklyProvider(LaunchDarklySource(**options), owner, self.caller, clock=lambda: self.now)

    def on(self, ids: tuple[str, ...], track: str | None, **properties: str) -> set[str]:
        known = {**properties, **({} if track is None else {"track": track})}
        with self._sdk() as client:
            return {name for name in ids if client.variation(FLAG.key, Context.from_dict({"kind": "user", "key": name, **known}), False)}

    def on_anonymous(self, track: str | None) -> bool:
        known = {} if track is None else {"track": track}
        with self._sdk() as client:
            who = (Context.from_dict({"kind": "user", "key": f"device-{n}", "anonymous": True, **known}) for n in range(50))
            return any(client.variation(FLAG.key, context, False) for context in who)

    @contextmanager
    def _sdk(self) -> Iterator[LDClient]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "flags.json"
            path.write_text(self.server.file())
            source = Files.new_data_source(paths=[str(path)])
            client = LDClient(Config("sdk-key", update_processor_class=source, send_events=False))
            try:
                yield client
            finally:
                client.close()  # type: ignore[no-untyped-call]

    def snapshot(self) -> bytes:
        """The flag without versions and times."""
        flags = json.loads(json.dumps(self.server.flags))
        for flag in flags.values():
            flag.pop("_version")
            for config in flag["environments"].values():
                config.pop("version")
                config.pop("lastModified")
        return json.dumps(flags, sort_keys=True).encode()

    def ours(self, role: str = "all") -> dict[str, Any]:
        return next(rule for rule in self.server.config()["rules"] if f"#{role}:" in rule.get("description", ""))

    def person_sets(self, percent: int) -> None:
        weights = {ON: percent * 1000, OFF: (100 - percent) * 1000}
        self.server.person({"kind": "updateRuleVariationOrRollout", "ruleId": self.ours()["_id"], "rolloutWeights": weights})

    def person_disables(self) -> None:
        self.server.person({"kind": "turnFlagOff"})

    def person_opens_for_all(self) -> None:
        self.server.person({"kind": "updateFallthroughVariationOrRollout", "variationId": ON})

    def person_edits_another_flag(self) -> None:
        self.server.person({"kind": "turnFlagOff"}, key="other")

    def another_flag_edited(self) -> bool:
        return not self.server.config("other")["on"]

    def calls(self) -> int:
        return len(self.caller.calls)

    def race(self, write: Callable[[], Awaitable[None]]) -> None:
        self.caller.before["PATCH"] = write

    def hang(self) -> None:
        self.caller.hanging = True
