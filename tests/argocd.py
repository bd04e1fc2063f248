"""Runs the Lua of examples/argo-cd-health.yaml as Argo CD does: `obj` is the live object, as tables.

Lua 5.1, which is what Argo CD's interpreter speaks. Health sees no libraries of the system; actions may ask for the time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from lupa.lua51 import LuaRuntime, lua_type

EXAMPLE = Path(__file__).parents[1] / "examples" / "argo-cd-health.yaml"


class ArgoCd:
    """What Argo CD makes of a Canary with our customizations."""

    def __init__(self) -> None:
        data = yaml.safe_load(EXAMPLE.read_text())["data"]
        self._health = str(data["resource.customizations.health.linnet.dev_Canary"])
        actions = yaml.safe_load(data["resource.customizations.actions.linnet.dev_Canary"])
        self._discovery = str(actions["discovery.lua"])
        self._actions = {str(d["name"]): str(d["action.lua"]) for d in actions["definitions"]}

    @property
    def verbs(self) -> set[str]:
        """Every action that is defined."""
        return set(self._actions)

    def health(self, canary: dict[str, Any]) -> tuple[str, str]:
        """Status and message."""
        found = self._run(self._health, canary, system=False)
        return str(found["status"]), str(found.get("message", ""))

    def offered(self, canary: dict[str, Any]) -> set[str]:
        """The actions whose buttons can be pressed."""
        return {name for name, how in self._run(self._discovery, canary).items() if not how.get("disabled")}

    def press(self, verb: str, canary: dict[str, Any]) -> dict[str, Any]:
        """The object as Argo CD would patch it."""
        return self._run(self._actions[verb], canary)

    def _run(self, code: str, canary: dict[str, Any], *, system: bool = True) -> dict[str, Any]:
        lua = LuaRuntime(unpack_returned_tuples=True)
        lua.globals()["obj"] = _to_lua(lua, canary)
        if not system:
            lua.execute("os, io, package, debug, require = nil, nil, nil, nil, nil")
        found = _from_lua(lua.execute(code))
        assert isinstance(found, dict)
        return found


def _to_lua(lua: Any, value: Any) -> Any:
    if isinstance(value, dict):
        return lua.table_from({key: _to_lua(lua, below) for key, below in value.items() if below is not None})
    if isinstance(value, list):
        return lua.table_from([_to_lua(lua, below) for below in value])
    return value


def _from_lua(value: Any) -> Any:
    if lua_type(value) != "table":
        return value
    items = {key: _from_lua(below) for key, below in value.items()}
    return [items[i + 1] for i in range(len(items))] if items and set(items) == set(range(1, len(items) + 1)) else items
