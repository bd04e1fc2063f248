"""Why: lists, watches, policies and controllers must agree on what a label or field selector selects."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from daemon.sandbox.errors import JSON, ApiError, bad_request

_SET = re.compile(r"^\s*(?P<key>[^\s!=,()]+)\s+(?P<op>in|notin)\s*\((?P<values>[^)]*)\)\s*$")
_EQ = re.compile(r"^\s*(?P<key>[^\s!=,()]+)\s*(?P<op>==|=|!=)\s*(?P<value>[^\s,()]*)\s*$")
_EXISTS = re.compile(r"^\s*(?P<not>!?)\s*(?P<key>[^\s!=,()]+)\s*$")

Labels = Mapping[str, str]
LabelPredicate = Callable[[Labels], bool]


def _split(text: str) -> list[str]:
    """Split at commas outside parentheses."""
    parts, depth, start = [], 0, 0
    for i, ch in enumerate(text):
        depth += (ch == "(") - (ch == ")")
        if ch == "," and depth == 0:
            parts.append(text[start:i])
            start = i + 1
    return [*parts, text[start:]]


def _requirement(part: str) -> LabelPredicate:
    if m := _SET.match(part):
        key, values = m["key"], {v.strip() for v in m["values"].split(",")}
        if m["op"] == "in":
            return lambda labels: key in labels and labels[key] in values
        return lambda labels: labels.get(key) not in values
    if m := _EQ.match(part):
        key, value = m["key"], m["value"]
        if m["op"] == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    if m := _EXISTS.match(part):
        key = m["key"]
        return (lambda labels: key not in labels) if m["not"] else (lambda labels: key in labels)
    raise bad_request(
        f'unable to parse requirement: invalid label selector {part!r}; write "key=value", "key!=value", "key in (a,b)" or "!key"'
    )


def parse_labels(text: str | None) -> LabelPredicate | None:
    """The predicate of a `labelSelector` parameter; None selects everything."""
    if not text or not text.strip():
        return None
    wanted = [_requirement(p) for p in _split(text)]
    return lambda labels: all(w(labels) for w in wanted)


def _expression(e: Mapping[str, Any]) -> LabelPredicate:
    key, op, values = e["key"], e["operator"], set(e.get("values") or ())
    if op == "In":
        return lambda labels: key in labels and labels[key] in values
    if op == "NotIn":
        return lambda labels: labels.get(key) not in values
    if op == "Exists":
        return lambda labels: key in labels
    if op == "DoesNotExist":
        return lambda labels: key not in labels
    raise bad_request(f"{op!r} is not a valid label selector operator: use In, NotIn, Exists or DoesNotExist")


def from_object(selector: Mapping[str, Any] | None) -> LabelPredicate:
    """The predicate of a `metav1.LabelSelector`; null selects nothing, empty selects everything."""
    if selector is None:
        return lambda _labels: False
    wanted = dict(selector.get("matchLabels") or {})
    expressions = [_expression(e) for e in selector.get("matchExpressions") or ()]
    return lambda labels: all(labels.get(k) == v for k, v in wanted.items()) and all(e(labels) for e in expressions)


def as_text(selector: Mapping[str, Any]) -> str:
    """The text form of a `metav1.LabelSelector`, as `scale.status.selector` shows it."""
    parts = [f"{k}={v}" for k, v in sorted((selector.get("matchLabels") or {}).items())]
    for e in selector.get("matchExpressions") or ():
        values = ",".join(sorted(e.get("values") or ()))
        shapes = {
            "In": f"{e['key']} in ({values})",
            "NotIn": f"{e['key']} notin ({values})",
            "Exists": e["key"],
            "DoesNotExist": f"!{e['key']}",
        }
        parts.append(shapes[e["operator"]])
    return ",".join(parts)


_COMMON = ("metadata.name", "metadata.namespace")
_BY_RESOURCE = {
    "pods": ("spec.nodeName", "status.phase", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "status.podIP", "status.nominatedNodeName"),
    "nodes": ("spec.unschedulable",),
    "namespaces": ("status.phase",),
    "secrets": ("type",),
    "services": ("spec.clusterIP", "spec.type"),
    "replicasets.apps": ("status.replicas",),
    "events": (
        "involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid", "involvedObject.apiVersion",
        "involvedObject.resourceVersion", "involvedObject.fieldPath", "reason", "reportingComponent", "source", "type",
    ),
}  # fmt: skip


def lookup(obj: Mapping[str, Any], path: str) -> str:
    """The text of one field, empty when it is not there."""
    value: Any = obj
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _unknown_field(key: str, resource: str, *, custom: bool) -> ApiError:
    if custom or resource in _BY_RESOURCE:
        return bad_request(f"field label not supported: {key}")
    known = ", ".join(f'"{n}"' for n in _COMMON)
    return bad_request(f'"{key}" is not a known field selector: only {known}')


def parse_fields(
    text: str | None, resource: str, selectable: tuple[str, ...] = (), *, custom: bool = False
) -> Callable[[JSON], bool] | None:
    """The predicate of a `fieldSelector` parameter, for the fields that the resource supports."""
    if not text or not text.strip():
        return None
    allowed = (*_COMMON, *_BY_RESOURCE.get(resource, ()), *selectable)
    wanted: list[tuple[str, bool, str]] = []
    for part in text.split(","):
        m = _EQ.match(part)
        if not m:
            raise bad_request(f"invalid selector: '{part}'; can't understand '{part}'")
        if m["key"] not in allowed:
            raise _unknown_field(m["key"], resource, custom=custom)
        wanted.append((m["key"], m["op"] != "!=", m["value"]))
    return lambda obj: all((lookup(obj, path) == value) is equal for path, equal, value in wanted)
