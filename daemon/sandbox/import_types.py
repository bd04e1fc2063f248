"""Why: the shapes of the built-in types are taken from a real API server's published OpenAPI, never written down by hand.

`python -m daemon.sandbox.import_types FOLDER` reads the documents of `/openapi/v3/api/v1`, `/openapi/v3/apis/apps/v1`, ... saved
in FOLDER as `*.json`, keeps what the served kinds reach, drops all descriptions, and writes `builtin_types.json`. What OpenAPI
does not say, namely which plain fields vanish when they are zero and which number a field has on the wire, is read from the Go types
and the `generated.proto` files of the modules `k8s.io/api`, `k8s.io/apimachinery` and `k8s.io/apiextensions-apiserver` (their folders
are the further arguments).
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import msgspec

from daemon.sandbox.errors import JSON
from daemon.sandbox.resources import BUILTIN

_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_ALSO = ("ObjectMeta", "LabelSelector", "Status", "DeleteOptions", "Patch")
_SCALE = ("autoscaling/v1", "Scale")
_EVICTION = ("policy/v1", "Eviction")
_BINDING = ("v1", "Binding")
_TOKEN = ("authentication.k8s.io/v1", "TokenRequest")
_OPTIONS = ("v1", "DeleteOptions")


def _trim(node: Any) -> Any:
    if isinstance(node, dict):
        out = {k: _trim(v) for k, v in node.items() if k != "x-kubernetes-group-version-kind"}
        if not isinstance(out.get("description"), dict):
            out.pop("description", None)
        return out
    return [_trim(v) for v in node] if isinstance(node, list) else node


def _refs(node: Any) -> set[str]:
    if isinstance(node, dict):
        found = {str(node["$ref"]).rpartition("/")[2]} if isinstance(node.get("$ref"), str) else set()
        return found.union(*(_refs(v) for v in node.values()))
    return set().union(*(_refs(v) for v in node)) if isinstance(node, list) else set()


_STRUCT = re.compile(r"^type (\w+) struct \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(r"^\s+\w+\s+([\w.]+)\s+`json:\"(\w+),omit(?:empty|zero)\"", re.MULTILINE)


def omit_zero(modules: list[Path]) -> dict[str, set[str]]:
    """For each Go struct (`core.v1.PodSpec`) the fields that are no pointers and are left out when zero."""
    found: dict[str, set[str]] = {}
    for module in modules:
        for path in module.rglob("types*.go"):
            package = ".".join(path.parent.relative_to(module).parts)
            for name, body in _STRUCT.findall(path.read_text()):
                found.setdefault(f"{package}.{name}", set()).update(json for _go, json in _FIELD.findall(body))
    return found


def mark_omitted(types: dict[str, JSON], omitted: dict[str, set[str]]) -> None:
    for name, node in types.items():
        fields = omitted.get(name.removeprefix("io.k8s.api.").removeprefix("io.k8s.apimachinery."), set())
        for field, raw in (node.get("properties") or {}).items():
            if field in fields and raw.get("type") in ("string", "integer", "boolean", "number"):
                raw["x-omit-zero"] = True


_MESSAGE = re.compile(r"^message (\w+) \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_NUMBER = re.compile(r"^\s+(?:optional |repeated )?(map<[^>]+>|[\w.]+) (\w+) = (\d+);", re.MULTILINE)
Messages = dict[str, list[tuple[str, str, int]]]  # package.Message -> type, field, number


def messages(modules: list[Path]) -> Messages:
    """The protobuf messages of the modules."""
    found: Messages = {}
    for module in modules:
        for path in module.rglob("generated.proto"):
            package = ".".join(path.parent.relative_to(module).parts)
            for name, body in _MESSAGE.findall(path.read_text()):
                found[f"{package}.{name}"] = [(kind, field, int(number)) for kind, field, number in _NUMBER.findall(body)]
    return found


def mark_numbers(types: dict[str, JSON], known: Messages) -> None:
    """Note each field's number on the wire; a field of a struct that JSON inlines has the numbers of both."""
    for name, node in types.items():
        short = name.removeprefix("io.k8s.api.").removeprefix("io.k8s.apimachinery.").removeprefix("io.k8s.apiextensions-apiserver.")
        _number(node.get("properties") or {}, short, known, [])


def _number(properties: JSON, message: str, known: Messages, path: list[int]) -> None:
    # Go's `uID`, `Expression` and `xKubernetesListType` are `uid`, `expression` and `x-kubernetes-list-type` in JSON.
    by_name = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in properties}
    for kind, field, number in known.get(message, ()):
        if field.lower() in by_name:
            properties[by_name[field.lower()]].setdefault("x-number", [*path, number])
        elif "<" not in kind and len(path) < 3:
            inner = (
                kind.removeprefix("k8s.io.api.").removeprefix("k8s.io.apimachinery.")
                if "." in kind
                else f"{message.rpartition('.')[0]}.{kind}"
            )
            _number(properties, inner, known, [*path, number])


def collect(folder: Path) -> JSON:
    """The types that the served kinds reach, and which type is which kind."""
    everything: dict[str, JSON] = {}
    for path in sorted(folder.glob("*.json")):
        everything.update(msgspec.json.decode(path.read_bytes()).get("components", {}).get("schemas", {}))
    wanted = {(r.api_version, r.kind) for r in BUILTIN} | {_SCALE, _EVICTION, _BINDING, _TOKEN, _OPTIONS}
    kinds: dict[str, str] = {}
    for name, node in everything.items():
        for gvk in node.get("x-kubernetes-group-version-kind", ()):
            api_version = f"{gvk['group']}/{gvk['version']}" if gvk["group"] else gvk["version"]
            if (api_version, gvk["kind"]) in wanted:
                kinds[f"{api_version}/{gvk['kind']}"] = name
    todo = [*kinds.values(), *(_META + n for n in _ALSO)]
    kept: dict[str, JSON] = {}
    while todo:
        name = todo.pop()
        if name not in kept and name in everything:
            kept[name] = _trim(everything[name])
            todo.extend(_refs(kept[name]))
    kept["io.k8s.apimachinery.pkg.api.resource.Quantity"]["format"] = "quantity"
    return {"kinds": dict(sorted(kinds.items())), "types": dict(sorted(kept.items()))}


def main() -> None:
    target = Path(__file__).with_name("builtin_types.json")
    found = collect(Path(sys.argv[1]))
    modules = [Path(a) for a in sys.argv[2:]]
    mark_omitted(found["types"], omit_zero(modules))
    mark_numbers(found["types"], messages(modules))
    lines = [f"{msgspec.json.encode(k).decode()}:{msgspec.json.encode(v).decode()}" for k, v in found["types"].items()]
    kinds = msgspec.json.encode(found["kinds"]).decode()
    target.write_text('{"kinds":' + kinds + ',\n"types":{\n' + ",\n".join(lines) + "\n}}\n")


if __name__ == "__main__":
    main()
