"""Flagger's query templates as ours: `{{ target }}` and its kin become args that the Canary fills in.

Flagger runs the new version under the Deployment's own name and the old one as `<name>-primary`. With Linnet it is the other
way round: stable keeps its name, and the canary's pods belong to `<name>-canary-<revision>`.
"""

from __future__ import annotations

import re
from typing import Any, Final

from daemon.api.names import CANARY_SUFFIX

_PLACE: Final = re.compile(r"\{\{-?\s*([a-z]+)(?:\.([A-Za-z0-9_]+))?\s*-?\}\}(-primary|-canary)?")
TARGET_TEXT: Final = (
    "{{ target }} was Flagger's canary; here pods of the canary are matched by <name>-canary-.*, which needs =~: look at the query"
)


def args_of(query: str) -> list[str]:
    """The names of the args that `convert` makes of a query."""
    return sorted({_arg(m) for m in _PLACE.finditer(query)})


def convert(query: str) -> str:
    """The query with args in the places of Flagger's functions."""
    return _PLACE.sub(lambda m: "{{args." + _arg(m) + "}}" + _suffix(m), query)


def _arg(match: re.Match[str]) -> str:
    word, variable, suffix = match.groups()
    if word == "variables" and variable:
        return variable
    if word == "target":
        return "stable" if suffix == "-primary" else "target"
    return word


def _suffix(match: re.Match[str]) -> str:
    word, _, suffix = match.groups()
    if suffix == "-primary":
        return ""  # stable has no suffix
    return suffix or "" if word != "target" else ""


def values(names: list[str], *, workload: str, service: str, route: str, interval: str, variables: dict[str, str]) -> list[dict[str, Any]]:
    """The args of a use, in order; a name that is not known is left to its author."""
    known: dict[str, Any] = {
        "name": {"valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        "namespace": {"valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
        "target": {"value": f"{workload}{CANARY_SUFFIX}-.*"},
        "stable": {"value": workload},
        "service": {"value": service},
        "ingress": {"value": route},
        "route": {"value": route},
        "interval": {"value": interval},
    } | {name: {"value": value} for name, value in variables.items()}
    return [{"name": name} | known[name] for name in names if name in known]
