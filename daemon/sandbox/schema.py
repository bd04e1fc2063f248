"""Why: validation, pruning, defaults, merge keys and field ownership all follow the shape of a type.

A `Node` is that shape. Built-in types come from `builtin_types.json` (written from a real server's published OpenAPI by
`python -m daemon.sandbox.import_types`, texts left out), custom ones from the schema in their CRD.
"""

from __future__ import annotations

import functools
from importlib import resources as files
from typing import Any, cast

import msgspec

from daemon.sandbox.errors import JSON

_PREFIX = "#/components/schemas/"


class Node:
    """One place in a type. Children are built when first asked for, since some types contain themselves."""

    __slots__ = ("_additional", "_items", "_props", "builtin", "raw")

    def __init__(self, raw: JSON, *, builtin: bool = False) -> None:
        self.raw = raw
        self.builtin = builtin
        self._props: dict[str, Node] | None = None
        self._items: Node | None = None
        self._additional: Node | None = None

    @property
    def type(self) -> str:
        """`object`, `array`, `string`, `integer`, `number`, `boolean`, or empty when anything goes."""
        return cast("str", self.raw.get("type", ""))

    @property
    def props(self) -> dict[str, Node]:
        if self._props is None:
            self._props = {k: self._child(v) for k, v in (self.raw.get("properties") or {}).items()}
        return self._props

    @property
    def items(self) -> Node | None:
        if self._items is None and isinstance(self.raw.get("items"), dict):
            self._items = self._child(self.raw["items"])
        return self._items

    @property
    def additional(self) -> Node | None:
        """The type of a map's values; None when this is not a map."""
        raw = self.raw.get("additionalProperties")
        if self._additional is None and isinstance(raw, dict):
            self._additional = self._child(raw)
        return self._additional

    def _child(self, raw: JSON) -> Node:
        return _resolved(raw) if self.builtin else Node(raw)

    @property
    def required(self) -> tuple[str, ...]:
        return tuple(self.raw.get("required") or ())

    @property
    def preserves_unknown(self) -> bool:
        return bool(self.raw.get("x-kubernetes-preserve-unknown-fields")) or self.raw.get("additionalProperties") is True

    @property
    def embedded(self) -> bool:
        return bool(self.raw.get("x-kubernetes-embedded-resource"))

    @property
    def int_or_string(self) -> bool:
        return bool(self.raw.get("x-kubernetes-int-or-string")) or self.raw.get("format") == "int-or-string"

    @property
    def is_map(self) -> bool:
        return self.additional is not None and not self.props

    @property
    def list_type(self) -> str:
        return cast("str", self.raw.get("x-kubernetes-list-type", "atomic"))

    @property
    def list_keys(self) -> tuple[str, ...]:
        return tuple(self.raw.get("x-kubernetes-list-map-keys") or ())

    @property
    def atomic(self) -> bool:
        """Whether one manager owns the value as a whole."""
        if self.type == "array":
            return self.list_type == "atomic"
        if self.raw.get("x-kubernetes-map-type") == "atomic":
            return True
        return False if self.type == "object" else not self.is_untyped

    @property
    def is_untyped(self) -> bool:
        return not self.type and not self.props and not self.int_or_string

    @property
    def merge_key(self) -> str:
        return cast("str", self.raw.get("x-kubernetes-patch-merge-key", ""))

    @property
    def patch_strategy(self) -> frozenset[str]:
        return frozenset(str(self.raw.get("x-kubernetes-patch-strategy", "")).split(",")) - {""}

    @property
    def omit_zero(self) -> bool:
        """Whether the field vanishes when it is zero, empty or false."""
        return bool(self.raw.get("x-omit-zero"))

    @property
    def always_there(self) -> bool:
        """Whether a typed server holds this struct even where nobody wrote it, so that writing into it does not own it."""
        return self.builtin and self.raw.get("default") == {}

    def key_default(self, key: str) -> Any:
        """The default of a list key, which stands in when an item leaves it out."""
        child = self.props.get(key)
        return child.raw.get("default") if child else None


@functools.cache
def types() -> dict[str, JSON]:
    """The built-in types by name."""
    data = files.files("daemon.sandbox").joinpath("builtin_types.json").read_bytes()
    return cast("dict[str, JSON]", msgspec.json.decode(data)["types"])


@functools.cache
def kinds() -> dict[str, str]:
    """`apps/v1/Deployment` -> name of its type."""
    data = files.files("daemon.sandbox").joinpath("builtin_types.json").read_bytes()
    return cast("dict[str, str]", msgspec.json.decode(data)["kinds"])


def type_name(ref: str) -> str:
    return ref.removeprefix(_PREFIX)


@functools.cache
def named(name: str) -> Node:
    """The built-in type of that name."""
    return Node(types()[name], builtin=True)


def _resolved(raw: JSON) -> Node:
    """A node with its reference followed: siblings of the reference win."""
    ref = raw.get("$ref") or next((a["$ref"] for a in raw.get("allOf", ()) if "$ref" in a), None)
    if ref is None:
        return Node(raw, builtin=True)
    extra = {k: v for k, v in raw.items() if k not in ("$ref", "allOf")}
    if not extra:
        return named(type_name(ref))
    return Node({**types()[type_name(ref)], **extra}, builtin=True)


@functools.cache
def of_kind(api_version: str, kind: str) -> Node | None:
    """The type of a built-in kind, or None when it is not one."""
    name = kinds().get(f"{api_version}/{kind}")
    return named(name) if name else None


@functools.cache
def object_meta() -> Node:
    return named("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")


@functools.cache
def delete_options() -> Node:
    """The options of a DELETE, which come under the version of any group."""
    return named("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions")


def of_custom(schema: JSON) -> Node:
    """The type of a custom resource: its CRD's schema with the API machinery's own metadata."""
    properties = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, **(schema.get("properties") or {})}
    node = Node({**schema, "type": "object", "properties": properties})
    node.props["metadata"] = object_meta()
    return node


def references(raw: Any) -> set[str]:
    """The names of the types that a raw schema refers to."""
    if isinstance(raw, dict):
        found = {type_name(raw["$ref"])} if isinstance(raw.get("$ref"), str) else set()
        return found.union(*(references(v) for v in raw.values()))
    return set().union(*(references(v) for v in raw)) if isinstance(raw, list) else set()
