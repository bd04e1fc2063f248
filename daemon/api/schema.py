"""The shape of a kind as a tree of mappings, with the marks of what is planned still in it.

msgspec's JSON Schema of the structs is the only source; this module inlines it into what Kubernetes calls a structural schema.
CRD generation strips the marks and adds rules; validation walks the same tree, so that both speak of the same fields.
"""

import functools
from typing import Any, Final

import msgspec

from daemon.api import fields
from daemon.api.kinds import Kind

STRUCT: Final = "x-linnet-struct"  # name of the struct a node came from; rules are looked up by it
FREE: Final = "x-kubernetes-preserve-unknown-fields"
INT_OR_STRING: Final = "x-kubernetes-int-or-string"

# Bounds of what has none of its own (only in status): far above what Linnet writes, so that no status write is ever refused.
MAX_LENGTH: Final = 262_144
MAX_ITEMS: Final = 256
MAX_PROPERTIES: Final = 256

_TYPES: Final[dict[type, str]] = {str: "string", int: "integer", bool: "boolean", float: "number"}
_DROPPED: Final = ("title", "default", "$ref", "anyOf")

Node = dict[str, Any]


@functools.cache
def tree(kind: Kind) -> Node:
    """Marked schema of a whole object: `spec`, and `status` where the kind has one. Not to be changed by the caller."""
    properties = {"spec": struct_tree(kind.spec)}
    if kind.status is not None:
        properties["status"] = struct_tree(kind.status)
    return {"type": "object", "required": ["spec"], "properties": properties, STRUCT: kind.name}


@functools.cache
def struct_tree(struct: type[msgspec.Struct]) -> Node:
    """Marked schema of one struct and all it contains."""
    (root,), definitions = msgspec.json.schema_components([struct], ref_template="{name}")
    return _inline(root, definitions)


def _inline(node: Node, definitions: dict[str, Any]) -> Node:
    """`node` without references and nullable unions, every part of it typed and bounded."""
    own = {key: value for key, value in node.items() if key not in _DROPPED}
    reference = node.get("$ref")
    if reference is not None:
        return {**_inline(definitions[reference], definitions), STRUCT: reference, **own}
    choices = [choice for choice in node.get("anyOf", ()) if choice != {"type": "null"}]
    if len(choices) == 1:
        return {**_inline(choices[0], definitions), **own}
    if choices:
        return {**_int_or_string(choices), **own}
    if "enum" in own:
        own["type"] = _TYPES[type(own["enum"][0])]
    _inline_children(own, definitions)
    _bound(own)
    return own


def _int_or_string(choices: list[Node]) -> Node:
    if sorted(choice.get("type", "") for choice in choices) != ["integer", "string"]:
        raise AssertionError(f"a structural schema cannot say {choices}")
    return {INT_OR_STRING: True, "anyOf": [{"type": "integer"}, {"type": "string"}], "maxLength": fields.PORT_NAME_LIMIT}


def _inline_children(node: Node, definitions: dict[str, Any]) -> None:
    if "properties" in node:
        node["properties"] = {name: _inline(child, definitions) for name, child in node["properties"].items()}
    if isinstance(node.get("items"), dict):
        node["items"] = _inline(node["items"], definitions)
    values = node.pop("additionalProperties", None)
    if values:
        node["additionalProperties"] = _inline(values, definitions)
    elif node.get("type") == "object" and "properties" not in node:
        node[FREE] = True  # without this mark the API server would drop the content


def _bound(node: Node) -> None:
    kind = node.get("type")
    if kind == "string" and "enum" not in node:
        node.setdefault("maxLength", MAX_LENGTH)
    elif kind == "array":
        node.setdefault("maxItems", MAX_ITEMS)
    elif kind == "object" and "additionalProperties" in node:
        node.setdefault("maxProperties", MAX_PROPERTIES)
    elif kind == "integer":
        node.setdefault("format", "int64")
    elif kind == "number":
        node.setdefault("format", "double")
    lower = node.get("exclusiveMinimum")
    if isinstance(lower, int | float) and not isinstance(lower, bool):  # OpenAPI v3.0 has a boolean beside `minimum`
        node["minimum"], node["exclusiveMinimum"] = lower, True
