"""What the documentation consists of, taken apart: pages, fenced blocks, inline code, links.

The documents promise what the code does, so every test here compares the two; this module only reads. A YAML block says by the second
word of its fence what it is: nothing for whole objects, `spec` for a part of a Canary's spec, `annotations` for those of a Deployment,
`values` for chart values, `fragment` for a part of somebody else's object.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOP = (
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "THREAT_MODEL.md",
    "CHANGELOG.md",
    "examples/README.md",
    "newsfragments/README.md",
    "charts/linnet/README.md",
    "tests/testbed/README.md",
)
# Written by `make docs` from the code; their own test compares them with it.
GENERATED = ("cli.md", "annotations.md", "conditions.md", "metrics.md", "api.md")
FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=indent)```", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} +(.+?)\s*$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block: language, what else the fence says, content, and where it stands."""

    page: str
    line: int
    language: str
    role: str
    body: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@cache
def pages() -> tuple[Path, ...]:
    """Every page of the documentation."""
    found = [ROOT / name for name in TOP] + sorted((ROOT / "docs").rglob("*.md"))
    return tuple(found)


@cache
def written() -> tuple[Path, ...]:
    """The pages that people write."""
    return tuple(p for p in pages() if not (p.parent.name == "reference" and p.name in GENERATED))


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        language, _, role = found["info"].strip().partition(" ")
        indent = len(found["indent"])
        body = "\n".join(line[indent:] for line in found["body"].splitlines()) + "\n"
        yield Block(page=name(page), line=text.count("\n", 0, found.start()) + 1, language=language, role=role.strip(), body=body)


def all_blocks(*languages: str) -> list[Block]:
    """Blocks of all written pages in these languages."""
    return [b for page in written() for b in blocks(page) if b.language in languages]


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def codes(page: Path) -> list[str]:
    """Inline code of a page."""
    return CODE.findall(prose(page))


def links(page: Path) -> list[str]:
    return LINK.findall(prose(page))


def anchors(page: Path) -> set[str]:
    """Headings as the usual renderers link them."""
    found = set()
    for heading in HEADING.findall(prose(page)):
        text = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower())
        found.add(text.strip().replace(" ", "-"))
    return found


def commands(text: str) -> Iterator[str]:
    """Lines of a shell block, continuations joined, prompts, comments and output taken away."""
    for line in text.replace("\\\n", " ").splitlines():
        stripped = line.strip().removeprefix("$ ")
        if stripped and not stripped.startswith("#"):
            yield stripped
