"""Edit one member of a JSON text and leave every other byte alone.

People keep comments-by-ordering, indentation and number formats in their flag files, diff them in Git, and several Canaries
may share one file. Decoding and encoding the whole text would rewrite all of it, and putting a saved copy back would undo
what others changed in between. So we cut out and put in exactly our own members.
"""

import json
import re
from collections.abc import Iterator

import msgspec

_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()

Path = tuple[str, ...]


class _Member(msgspec.Struct, frozen=True, kw_only=True):
    """Offsets of `"key": value`, and where the member before it ended (None for the first)."""

    key: str
    start: int
    value: int
    end: int
    previous: int | None


def raw(text: str, path: Path) -> str | None:
    """The text of the value at `path`, or None where there is none."""
    at = _value_at(text, path)
    return None if at is None else text[at : _end(text, at)]


def put(text: str, path: Path, value: str) -> str:
    """Replace the value at `path`, or add it as the last member of its parent, which must be an object."""
    at = _value_at(text, path)
    if at is not None:
        return text[:at] + value + text[_end(text, at) :]
    parent = _value_at(text, path[:-1])
    if parent is None or text[parent] != "{":
        raise ValueError(f"{'.'.join(path[:-1]) or 'the document'} is not an object")
    member = f"{json.dumps(path[-1])}: {value}"
    members = list(_members(text, parent))
    if not members:
        return text[: parent + 1] + member + text[parent + 1 :]
    last = members[-1]
    # The new member gets the indentation of the one before it, so that a diff shows one added line.
    gap = _space_before(text, last.start)
    return text[: last.end] + "," + gap + member + text[last.end :]


def drop(text: str, path: Path) -> str:
    """Remove the member at `path` with its comma; what `put` added is taken out byte for byte."""
    parent = _value_at(text, path[:-1])
    if parent is None or text[parent] != "{":
        return text
    members = list(_members(text, parent))
    index = next((i for i, member in enumerate(members) if member.key == path[-1]), None)
    if index is None:
        return text
    member = members[index]
    if member.previous is not None:
        return text[: member.previous] + text[member.end :]
    if len(members) > 1:
        return text[: member.start] + text[members[1].start :]
    return text[: member.start] + text[member.end :]


def _value_at(text: str, path: Path) -> int | None:
    at: int | None = _skip(text, 0)
    for key in path:
        if at is None or text[at] != "{":
            return None
        found = [member for member in _members(text, at) if member.key == key]
        if len(found) > 1:
            raise ValueError(f"the key {key!r} occurs {len(found)} times in one object")
        at = found[0].value if found else None
    return at


def _members(text: str, at: int) -> Iterator[_Member]:
    """The members of the object that opens at `at`. The text is known to be valid JSON."""
    at = _skip(text, at + 1)
    previous: int | None = None
    while text[at] != "}":
        start = at
        key = _DECODER.raw_decode(text, at)[0]
        at = _skip(text, _end(text, at))
        value = _skip(text, at + 1)
        end = _end(text, value)
        yield _Member(key=key, start=start, value=value, end=end, previous=previous)
        previous = end
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)


def _end(text: str, at: int) -> int:
    return _DECODER.raw_decode(text, at)[1]


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return at if match is None else match.end()


def _space_before(text: str, at: int) -> str:
    start = at
    while text[start - 1] in " \t\r\n":
        start -= 1
    return text[start:at]
