"""The table of values in the chart's README, made from the comments of values.yaml.

    python -m tests.unit.chart.values_table      # writes it

Written by hand it would be wrong after the first change; `test_readme.py` fails when the two differ or a value has no comment.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parents[3] / "charts" / "linnet"
START = "<!-- values: python -m tests.unit.chart.values_table -->\n"
END = "<!-- end of values -->"
# Documented as one value: users give them whole.
WHOLE = ("resources",)


@dataclass(frozen=True, kw_only=True)
class Value:
    path: str
    default: Any
    comment: str


def _documented(text: str) -> dict[str, str]:
    """Path of each key -> the comment right above it (or the key's group has none)."""
    found: dict[str, str] = {}
    parents: list[str] = []
    comment: list[str] = []
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("#"):
            comment.append(stripped.lstrip("# "))
            continue
        key = re.match(r"( *)([A-Za-z]+):", line)
        if key is None:
            comment = []
            continue
        depth = len(key.group(1)) // 2
        parents = [*parents[:depth], key.group(2)]
        found[".".join(parents)] = " ".join(comment)
        comment = []
    return found


def _leaves(prefix: str, tree: dict[str, Any]) -> list[tuple[str, Any]]:
    leaves: list[tuple[str, Any]] = []
    for key, value in tree.items():
        path = f"{prefix}{key}"
        leaves += _leaves(f"{path}.", value) if isinstance(value, dict) and value and path not in WHOLE else [(path, value)]
    return leaves


def values() -> list[Value]:
    """Every value of the chart with its default and its comment."""
    text = (CHART / "values.yaml").read_text()
    comments = _documented(text)
    return [Value(path=path, default=default, comment=comments.get(path, "")) for path, default in _leaves("", yaml.safe_load(text))]


def table() -> str:
    rows = ["| value | default | what |", "|---|---|---|"]
    for value in values():
        comment = value.comment.replace("|", "\\|")
        rows.append(f"| `{value.path}` | `{json.dumps(value.default)}` | {comment} |")
    return "\n".join(rows) + "\n"


def readme(text: str) -> str:
    """The README with its table as it should be."""
    before, rest = text.split(START)
    _, after = rest.split(END)
    return f"{before}{START}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    page = CHART / "README.md"
    page.write_text(readme(page.read_text()))
