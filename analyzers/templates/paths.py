"""The part of JSONPath that web templates use: `{$.data.ok}`, `{.items[0].value}`, `{$['a b']}`, `{.items[*].ok}`."""

import re
from typing import Any, Final

from analyzers.templates.errors import PathError
from analyzers.templates.functions import Absent, shown

LENGTH: Final = 512
_STEP: Final = re.compile(
    r"\.(?P<name>[A-Za-z0-9_-]+)|\[(?:'(?P<single>[^']*)'|\"(?P<double>[^\"]*)\"|(?P<index>-?[0-9]{1,6})|(?P<all>\*))\]"
)

Step = str | int | None  # None is [*]


def parse(text: str) -> tuple[Step, ...]:
    """The steps of a path; PathError names the place of what is not understood."""
    if len(text) > LENGTH:
        raise PathError(f"jsonPath has {len(text)} characters, more than {LENGTH}")
    inner, start = text.strip(), 0
    if inner.startswith("{") and inner.endswith("}"):
        inner, start = inner[1:-1].strip(), 1
    if inner.startswith("$"):
        inner, start = inner[1:], start + 1
    elif inner and inner[0] not in ".[":
        inner = f".{inner}"
    steps: list[Step] = []
    at = 0
    while at < len(inner):
        found = _STEP.match(inner, at)
        if found is None:
            raise PathError(
                f"jsonPath {text!r} cannot be read at character {start + at + 1}: write names, [0], ['a b'] and [*], such as {{$.data.ok}}"
            )
        if found["index"] is not None:
            steps.append(int(found["index"]))
        else:
            steps.append(None if found["all"] else next(n for n in (found["name"], found["single"], found["double"]) if n is not None))
        at = found.end()
    return tuple(steps)


def follow(path: tuple[Step, ...], value: Any) -> Any:
    """What lies there. Absent for null on the way or an index of an empty list; PathError where the answer has another shape."""
    for place, step in enumerate(path):
        if step is None:
            return [follow(path[place + 1 :], entry) for entry in _entries(value)]
        value = _one(value, step)
    return value


def _one(value: Any, step: str | int) -> Any:
    if value is None:
        raise Absent(f"there is null where {step!r} was looked for")
    if isinstance(step, int):
        if not isinstance(value, list):
            raise PathError(f"the answer has {shown(value)} where a list was looked for")
        if not value:
            raise Absent("the list in the answer is empty")
        if not -len(value) <= step < len(value):
            raise PathError(f"the answer has a list of {len(value)} where index {step} was looked for")
        return value[step]
    if not isinstance(value, dict) or step not in value:
        raise PathError(f"the answer has no {step!r}: it has {shown(value)}")
    return value[step]


def _entries(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        return list(value.values())
    if value is None:
        raise Absent("there is null where a list was looked for")
    raise PathError(f"the answer has {shown(value)} where a list was looked for")
