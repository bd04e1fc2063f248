"""Where flagd's flags are kept in Kubernetes: a file in a ConfigMap, or a FeatureFlag object of the OpenFeature operator. Pure.

Both are read as the same text, so that one set of rules drives both. A file is written back as a whole, byte for byte; of an object only the
members that changed are patched, so that what others own of it stays theirs.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import msgspec

from flags.errors import Invalid, Missing
from flags.provider import ObjectRef

Operation = dict[str, Any]
Fields = tuple[str, ...]


class Place(Protocol):
    """One object with flags in it."""

    @property
    def ref(self) -> ObjectRef: ...
    @property
    def where(self) -> str: ...
    @property
    def field(self) -> str:
        """Where in the object the flags are, for messages."""
        ...

    def text(self, found: Mapping[str, Any]) -> str:
        """The flags of the object as JSON text."""
        ...

    def edits(self, before: str, after: str) -> list[Operation]:
        """What has to be patched; neither ownership nor the revision is looked at."""
        ...

    def owned(self, evaluator: str) -> Fields:
        """The fields, in the words of managedFields, that our writes take over from their owner."""
        ...

    def written(self) -> Fields:
        """The fields whose last writer is the one that changed the flags."""
        ...


class ConfigMapPlace(msgspec.Struct, frozen=True, kw_only=True):
    """A flag file."""

    namespace: str
    name: str
    key: str

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef(api_version="v1", kind="ConfigMap", namespace=self.namespace, name=self.name)

    @property
    def where(self) -> str:
        return f"ConfigMap {self.namespace}/{self.name}"

    @property
    def field(self) -> str:
        return f"data[{self.key}]"

    def text(self, found: Mapping[str, Any]) -> str:
        if found.get("immutable"):
            way_out = "Use a ConfigMap that is not immutable."
            raise Invalid(field=f"{self.where} immutable", value=True, problem="its flags cannot change", way_out=way_out)
        data = found.get("data") or {}
        if self.key not in data:
            there = ", ".join(sorted(data)) or "none"
            raise Missing(f"{self.where} has no data key {self.key!r}; it has {there}. Name the right one in the FlagSource.")
        return str(data[self.key])

    def edits(self, before: str, after: str) -> list[Operation]:
        return [] if before == after else [{"op": "replace", "path": pointer("data", self.key), "value": after}]

    def owned(self, evaluator: str) -> Fields:
        return ("f:data", f"f:{self.key}")

    def written(self) -> Fields:
        return self.owned("")


class FeatureFlagPlace(msgspec.Struct, frozen=True, kw_only=True):
    """A FeatureFlag: what is a file elsewhere is `spec.flagSpec` here."""

    namespace: str
    name: str

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef(api_version="core.openfeature.dev/v1beta1", kind="FeatureFlag", namespace=self.namespace, name=self.name)

    @property
    def where(self) -> str:
        return f"FeatureFlag {self.namespace}/{self.name}"

    @property
    def field(self) -> str:
        return "spec.flagSpec"

    def text(self, found: Mapping[str, Any]) -> str:
        return json.dumps((found.get("spec") or {}).get("flagSpec") or {"flags": {}})

    def edits(self, before: str, after: str) -> list[Operation]:
        return list(_changes(json.loads(before), json.loads(after), ("spec", "flagSpec"), depth=3))

    def owned(self, evaluator: str) -> Fields:
        return ("f:spec", "f:flagSpec", "f:$evaluators", f"f:{evaluator}")

    def written(self) -> Fields:
        return ("f:spec", "f:flagSpec")


def pointer(*parts: str) -> str:
    """A JSON pointer."""
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)


def _changes(before: Any, after: Any, path: tuple[str, ...], depth: int) -> Iterator[Operation]:
    """Member by member down to an evaluator, or a member of a flag; these change as a whole."""
    if before == after:
        return
    if depth == 0 or not isinstance(before, dict) or not isinstance(after, dict):
        yield {"op": "replace", "path": pointer(*path), "value": after}
        return
    for key, value in after.items():
        if key not in before:
            yield {"op": "add", "path": pointer(*path, key), "value": value}
        else:
            yield from _changes(before[key], value, (*path, key), depth - 1)
    for key in before.keys() - after.keys():
        yield {"op": "remove", "path": pointer(*path, key)}
