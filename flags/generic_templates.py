"""How the requests of a flag service of one's own are written down: JSON with holes, and paths with holes. Pure.

A hole is `{{word}}`. A text of the body that is nothing but a hole becomes the value itself, a number, a list or null, so that no quoting can
go wrong; inside a longer text, and in a path, it becomes its text. What is no JSON, and words that nobody knows, are refused before a call.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from flags.errors import Invalid

_HOLE = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")
WORDS = ("flag", "percent", "gate", "cohorts", "owner", "revision")
_IN_PATHS = ("flag", "percent", "revision")
Values = Mapping[str, Any]


def body(field: str, text: str) -> Any:
    """The template of a body."""
    try:
        found = json.loads(text)
    except ValueError as problem:
        raise Invalid(
            field=field, value=text, problem=f"it is no JSON ({problem})", way_out='Put holes into quotes: "{{percent}}".'
        ) from None
    _refuse_unknown(field, text, WORDS)
    return found


def path(field: str, text: str) -> str:
    """The template of a path below the source's url."""
    if not text.startswith("/"):
        raise Invalid(field=field, value=text, problem="it does not begin with /", way_out="Write it as it goes on after the url.")
    _refuse_unknown(field, text, _IN_PATHS)
    return text


def words_of(*texts: str) -> frozenset[str]:
    """Which holes there are."""
    return frozenset(word for text in texts for word in _holes(text))


def fill(template: Any, values: Values) -> Any:
    """A body with its values."""
    match template:
        case str():
            whole = _HOLE.fullmatch(template)
            return values[whole[1]] if whole else _HOLE.sub(lambda hole: _text(values[hole[1]]), template)
        case list():
            return [fill(item, values) for item in template]
        case dict():
            return {_HOLE.sub(lambda hole: _text(values[hole[1]]), key): fill(item, values) for key, item in template.items()}
        case _:
            return template


def fill_path(template: str, values: Values) -> str:
    return _HOLE.sub(lambda hole: quote(_text(values[hole[1]]), safe=""), template)


def at(document: Any, pointer: str) -> Any:
    """What a JSON pointer points at; None where there is nothing."""
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        match document:
            case dict():
                document = document.get(key)
            case list() if key.isdigit() and int(key) < len(document):
                document = document[int(key)]
            case _:
                return None
    return document


def _refuse_unknown(field: str, text: str, known: tuple[str, ...]) -> None:
    for word in _holes(text):
        if word not in known:
            way_out = f"Known here: {', '.join(known)}."
            raise Invalid(field=field, value=f"{{{{{word}}}}}", problem="nothing of that name is filled in", way_out=way_out)


def _holes(text: str) -> Iterator[str]:
    return (hole[1] for hole in _HOLE.finditer(text))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value)
