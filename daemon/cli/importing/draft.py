"""An object of ours as it is being written, and the field that each of its own fields came from.

What is written must pass `linnet lint`. A value that this version refuses is taken out again, and the field that it came from
is reported with lint's own words: so what this command promises never runs ahead of what the daemon does.
"""

from __future__ import annotations

import itertools
import re
from typing import Any, Final

from daemon.api import names, validation
from daemon.cli.importing.ledger import Cursor, Path

_PART: Final = re.compile(r"\.?([^.\[\]]+)|\[([^\]]*)\]")
_PASSES: Final = 100
_ESSENTIAL: Final = ("spec", "workloadRef")  # without it, or with another value, the object would mean something else


class Draft:
    """One object. `put` fills it; `settle` makes it pass lint."""

    def __init__(self, kind: str, name: str, namespace: str | None, *, api_version: str = names.API_VERSION) -> None:
        metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
        self.body: dict[str, Any] = {"apiVersion": api_version, "kind": kind, "metadata": metadata}
        self._origins: list[tuple[Path, Cursor | None]] = []

    @property
    def label(self) -> str:
        return f"{self.body['kind']}/{self.body['metadata']['name']}"

    @property
    def ours(self) -> bool:
        return bool(self.body["apiVersion"] == names.API_VERSION)

    def put(self, where: str, value: Any, origin: Cursor | None = None) -> None:
        """Sets `spec.steps[0].weight`; lists grow by one. None is not written."""
        if value is None:
            return
        path = _parsed(where)
        here: Any = self.body
        for key, following in itertools.pairwise(path):
            here = _below(here, key, [] if isinstance(following, int) else {})
        last: Any = path[-1]
        if isinstance(here, list) and last == len(here):
            here.append(value)
        else:
            here[last] = value
        self._origins.append((path, origin))

    def settle(self) -> bool:
        """Takes out what lint refuses; False where nothing usable is left."""
        for _ in range(_PASSES):
            errors = validation.lint(self.body)
            if not errors:
                return True
            error = errors[0]
            path = self._nearest(_parsed(error.path))
            if len(path) <= 1 or path[:1] != ("spec",) or path[:2] == _ESSENTIAL:
                return self._give_up(str(error))
            self._tell(path, error.message)
            self._remove(path)
        return self._give_up("cannot be written in a form that this version accepts")

    def _give_up(self, why: str) -> bool:
        for _, origin in self._origins:
            if origin is not None:
                origin.ledger.lose(origin.path, f"{self.label} could not be written: {why}")
        return False

    def _nearest(self, path: Path) -> Path:
        """The deepest place on the way that is there; a missing field is its parent's fault."""
        here: Any = self.body
        for depth, key in enumerate(path):
            try:
                here = here[key]
            except (KeyError, IndexError, TypeError):
                return path[:depth]
        return path

    def _tell(self, path: Path, why: str) -> None:
        hit = [origin for at, origin in self._origins if at[: len(path)] == path]
        if not hit:  # the fault lies within a value that was put as a whole
            above = [(len(at), origin) for at, origin in self._origins if path[: len(at)] == at]
            hit = [max(above, key=lambda pair: pair[0])[1]] if above else []
        for origin in hit:
            if origin is not None:
                origin.ledger.lose(origin.path, why)

    def _remove(self, path: Path) -> None:
        here: Any = self.body
        for key in path[:-1]:
            here = here[key]
        del here[path[-1]]
        self._origins = [(_shifted(at, path), o) for at, o in self._origins if at[: len(path)] != path]
        if not here and len(path) > 2:  # an empty list or map says nothing
            self._remove(path[:-1])


def _shifted(at: Path, removed: Path) -> Path:
    """Entries behind one that went move up."""
    last, depth = removed[-1], len(removed) - 1
    if isinstance(last, int) and at[:depth] == removed[:-1] and len(at) > depth:
        index = at[depth]
        if isinstance(index, int) and index > last:
            return (*at[:depth], index - 1, *at[depth + 1 :])
    return at


def _parsed(where: str) -> Path:
    return tuple(int(index) if index.isdigit() else name or index for name, index in _PART.findall(where))


def _below(here: Any, key: Any, empty: Any) -> Any:
    if isinstance(here, list):
        if key == len(here):
            here.append(empty)
        return here[key]
    return here.setdefault(key, empty)
