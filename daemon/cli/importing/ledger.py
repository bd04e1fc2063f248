"""The object that is read, with a record of what became of each of its fields.

Fields are read through a `Cursor`; reading one for use claims it. A claim covers everything below its path, the longest claim
wins, and a leaf without a claim is reported as having no counterpart: nothing can be dropped in silence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

Outcome = Literal["Mapped", "Differs", "NoCounterpart"]
Path = tuple[str | int, ...]

NO_COUNTERPART: Final = "has no counterpart in Linnet; nothing was written for it"
_PLAIN: Final = re.compile(r"^[A-Za-z0-9_-]+$")


@dataclass(frozen=True, kw_only=True)
class Note:
    """What became of one field and everything below it."""

    object: str  # Kind/name
    path: str
    outcome: Outcome
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What is said of the fields that match `pattern` when no code reads them: `*` is one name, `[]` any index."""

    pattern: str
    outcome: Outcome
    text: str

    def covers(self, path: Path) -> Path | None:
        """The part of `path` that the pattern names; None where it does not fit."""
        wanted = [part for part in re.split(r"\.|(?=\[\])", self.pattern) if part]
        pairs = zip(wanted, path, strict=False)
        fits = len(wanted) <= len(path) and all(isinstance(have, int) if want == "[]" else want in ("*", have) for want, have in pairs)
        return path[: len(wanted)] if fits else None


def shown(path: Path) -> str:
    """`spec.steps[0].setWeight`; a name with dots stands in brackets."""
    text = ""
    for part in path:
        if isinstance(part, int) or not _PLAIN.match(part):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


def leaves(value: Any, path: Path = ()) -> Iterator[Path]:
    """Every place that holds a value; an empty list or map is one."""
    if isinstance(value, dict) and value:
        for key, below in value.items():
            yield from leaves(below, (*path, str(key)))
    elif isinstance(value, list) and value:
        for index, below in enumerate(value):
            yield from leaves(below, (*path, index))
    else:
        yield path


class Ledger:
    """The claims on one object."""

    def __init__(self, body: dict[str, Any], rules: Sequence[Rule] = ()) -> None:
        self.body = body
        self.kind = str(body.get("kind", "?"))
        self.name = str((body.get("metadata") or {}).get("name", "?"))
        self._rules = rules
        self._claims: dict[Path, tuple[Outcome, str]] = {
            ("apiVersion",): ("Mapped", ""),
            ("kind",): ("Mapped", ""),
            ("metadata", "name"): ("Mapped", ""),
            ("metadata", "namespace"): ("Mapped", ""),
        }

    @property
    def label(self) -> str:
        return f"{self.kind}/{self.name}"

    def cursor(self) -> Cursor:
        return Cursor(self, (), self.body)

    def claim(self, path: Path, outcome: Outcome, text: str = "") -> None:
        """A later claim on the same path replaces an earlier one: code first reads a field, then finds that it cannot be kept."""
        self._claims[path] = (outcome, text)

    def lose(self, path: Path, text: str) -> None:
        """What was mapped at `path`, or below it, could not be kept after all."""
        for claimed, (outcome, _) in list(self._claims.items()):
            if claimed[: len(path)] == path and outcome == "Mapped":
                self._claims[claimed] = ("NoCounterpart", text)
        self._claims[path] = ("NoCounterpart", text)

    def notes(self) -> list[Note]:
        """One for each claim that covers a leaf, in the order of the object."""
        found: dict[Path, Note] = {}
        for leaf in leaves(self.body):
            path, outcome, text = self._verdict(leaf)
            found.setdefault(path, Note(object=self.label, path=shown(path), outcome=outcome, text=text))
        return list(found.values())

    def _verdict(self, leaf: Path) -> tuple[Path, Outcome, str]:
        for length in range(len(leaf), 0, -1):
            claim = self._claims.get(leaf[:length])
            if claim is not None:
                return leaf[:length], *claim
        for rule in self._rules:
            covered = rule.covers(leaf)
            if covered is not None:
                return covered, rule.outcome, rule.text
        return leaf, "NoCounterpart", NO_COUNTERPART


class Cursor:
    """One place in the object."""

    def __init__(self, ledger: Ledger, path: Path, value: Any) -> None:
        self.ledger = ledger
        self.path = path
        self.value = value

    def at(self, *keys: str | int) -> Cursor:
        """A place below, whether anything is there or not."""
        value = self.value
        for key in keys:
            if isinstance(value, dict):
                value = value.get(key)
            elif isinstance(value, list) and isinstance(key, int) and key < len(value):
                value = value[key]
            else:
                value = None
        return Cursor(self.ledger, (*self.path, *keys), value)

    def each(self, *keys: str) -> list[Cursor]:
        """The entries of a list."""
        here = self.at(*keys)
        return [here.at(index) for index in range(len(here.value))] if isinstance(here.value, list) else []

    def take(self, *keys: str | int, default: Any = None) -> Any:
        """The value, claimed as mapped together with all that is below."""
        here = self.at(*keys)
        if here.value is None:
            return default
        self.ledger.claim(here.path, "Mapped")
        return here.value

    def differs(self, text: str, *keys: str | int) -> Any:
        """The value, reported as different."""
        here = self.at(*keys)
        if here.value is not None:
            self.ledger.claim(here.path, "Differs", text)
        return here.value

    def lost(self, text: str, *keys: str | int) -> Any:
        """The value, reported as having no counterpart."""
        here = self.at(*keys)
        if here.value is not None:
            self.ledger.claim(here.path, "NoCounterpart", text)
        return here.value

    def __bool__(self) -> bool:
        return self.value is not None
