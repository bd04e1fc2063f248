"""A flag file in a ConfigMap, flagd's own evaluator on it, and the people who edit it beside Linnet."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext

from flags.flagd import FlagdProvider, FlagdSource
from flags.model import FlagRef, Owner
from flags.provider import FlagProvider
from tests.unit.flags.store import MemoryStore, ObjectStore

FLAG = FlagRef(key="new-checkout", source="flagd")
ME = Owner(cluster="prod", namespace="shop", name="checkout", uid="uid-1")
RIVAL = Owner(cluster="prod", namespace="shop", name="checkout-eu", uid="uid-2")

# Odd on purpose: indentation, order, number formats and trailing space are the owner's and must survive.
FILE = """{
   "flags": {
      "new-checkout": { "state": "ENABLED",
         "variants": {"on": true, "off": false},
         "defaultVariant": "off" },
      "limit": {"state":"ENABLED", "variants": {"small": 1.50, "big": 1e2}, "defaultVariant": "small"}
   },
   "metadata": {"team": "caf\\u00e9"}
} \n"""


class FlagdWorld:
    """A flag file, and what flagd makes of it."""

    def __init__(self, text: str = FILE, settle: float = 90.0, annotations: dict[str, str] | None = None) -> None:
        self.now, self.settle = 1_000.0, settle
        self.flag = FLAG
        self.store: MemoryStore = MemoryStore({"flags.json": text, "other": "x"}, annotations)
        self.drive(FlagdSource(namespace="shop", config_map="flags", settle=settle))

    def drive(self, source: FlagdSource) -> None:
        self.provider: FlagProvider = FlagdProvider(source, ME, self.store, lambda: self.now)
        self.rival: FlagProvider = FlagdProvider(source, RIVAL, self.store, lambda: self.now)

    def on(self, ids: tuple[str, ...], track: str | None, **properties: str) -> set[str]:
        core = self._core()
        return {name for name in ids if self._resolve(core, name, track, **properties)}

    def on_anonymous(self, track: str | None) -> bool:
        return self._resolve(self._core(), None, track)

    def snapshot(self) -> bytes:
        metadata = {name: value for name, value in self.store.object["metadata"].items() if name != "managedFields"}
        return json.dumps([metadata, self.store.object.get("data"), self.store.object.get("spec")]).encode()

    def person_sets(self, percent: int) -> None:
        def change(document: dict[str, Any]) -> None:
            rule = document["$evaluators"]["linnet-new-checkout"]
            rule["and"][-1]["=="][0]["fractional"] = [["on", percent], ["off", 100 - percent]]

        self.edit(change)

    def person_disables(self) -> None:
        self.edit(lambda document: document["flags"]["new-checkout"].update(state="DISABLED"))

    def person_opens_for_all(self) -> None:
        def change(document: dict[str, Any]) -> None:
            document["flags"]["new-checkout"].pop("targeting", None)
            document["flags"]["new-checkout"]["defaultVariant"] = "on"

        self.edit(change)

    def person_edits_another_flag(self) -> None:
        self.edit(lambda document: document["flags"]["limit"].update(defaultVariant="big"))

    def another_flag_edited(self) -> bool:
        default: str = self.document()["flags"]["limit"]["defaultVariant"]
        return default == "big"

    def calls(self) -> int:
        return len(self.store.calls)

    def race(self, write: Callable[[], Awaitable[None]]) -> None:
        self.store.before_patch = write

    def hang(self) -> None:
        self.store.hang = True

    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.store.text())
        return found

    def edit(self, change: Callable[[dict[str, Any]], object]) -> None:
        document = self.document()
        change(document)
        self.store.edit("flags.json", json.dumps(document, indent=2))

    def _core(self) -> FlagdCore:
        core = FlagdCore()
        core.set_flags(self.store.text())
        return core

    def _resolve(self, core: FlagdCore, name: str | None, track: str | None, **properties: str) -> bool:
        context = EvaluationContext(targeting_key=name, attributes=properties if track is None else {"track": track, **properties})
        value = core.resolve_boolean_value("new-checkout", False, context).value
        assert isinstance(value, bool)
        return value


class FeatureFlagWorld(FlagdWorld):
    """The same flags in a FeatureFlag object."""

    def __init__(self, settle: float = 15.0) -> None:
        super().__init__(settle=settle)
        self.store = ObjectStore(json.loads(FILE))
        self.drive(FlagdSource(namespace="shop", feature_flag="flags", settle=settle))
