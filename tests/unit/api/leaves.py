"""Every leaf a user can write, from the types: what test_leaves holds against leaves.json."""

from collections.abc import Iterator

from daemon.api import fields
from daemon.api.kinds import KINDS
from daemon.api.schema import Node, tree


def leaves() -> Iterator[tuple[str, Node, bool]]:
    """Path, node, and whether the leaf is refused by name (itself or something it is in)."""
    for kind in KINDS:
        yield from _leaves(tree(kind)["properties"]["spec"], f"{kind.name}.spec", refused=False)


def _leaves(node: Node, path: str, *, refused: bool) -> Iterator[tuple[str, Node, bool]]:
    refused = refused or bool(node.get(fields.PLANNED))
    children = [(f"{path}.{name}", child) for name, child in node.get("properties", {}).items()]
    children += [(f"{path}[]", node[key]) for key in ("items", "additionalProperties") if isinstance(node.get(key), dict)]
    if not children:
        yield path, node, refused
    for child_path, child in children:
        yield from _leaves(child, child_path, refused=refused)


def choices(node: Node) -> int | None:
    """How many values of an enumeration are built; None where there is no enumeration."""
    if "enum" not in node:
        return None
    return len([value for value in node["enum"] if value not in node.get(fields.PLANNED_VALUES, ())])


def settable() -> list[str]:
    """Leaves that are built and have more than one value."""
    return [path for path, node, refused in leaves() if not refused and choices(node) != 1]
