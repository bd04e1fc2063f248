"""Fields kept as they came: copied out of their reply, and read when somebody needs to.

`Raw` is a view into the reply it was decoded from; `detach` copies it, or one small object would keep a page of megabytes alive.
"""

import functools
import typing
from typing import Any, TypeVar

import msgspec
from msgspec import Raw, Struct

from daemon.kube.objects.parts import EMPTY

S = TypeVar("S", bound=Struct)


def detach(value: S) -> S:
    """Copy each `Raw` in a freshly decoded object, so that it no longer holds the reply it came in. Changes it in place."""
    for name in _fields_with_raw(type(value)):
        _detach_field(value, name, getattr(value, name))
    return value


def _detach_field(owner: Struct, name: str, value: Any) -> None:
    if value is EMPTY:
        return  # keep the identity: it is what `omit_defaults` recognises
    if isinstance(value, Raw):
        msgspec.structs.force_setattr(owner, name, value.copy())
    else:
        for part in _structs_in(value):
            detach(part)


def _structs_in(value: Any) -> list[Struct]:
    if isinstance(value, Struct):
        return [value]
    if isinstance(value, dict):
        return [s for v in value.values() for s in _structs_in(v)]
    if isinstance(value, list | tuple):
        return [s for v in value for s in _structs_in(v)]
    return []


@functools.cache
def _fields_with_raw(cls: type[Struct]) -> tuple[str, ...]:
    hints = typing.get_type_hints(cls)
    return tuple(name for name in cls.__struct_fields__ if _mentions_raw(hints[name], frozenset({cls})))


def _mentions_raw(hint: Any, seen: frozenset[Any]) -> bool:
    if hint is Raw:
        return True
    if isinstance(hint, type) and issubclass(hint, Struct):
        if hint in seen:
            return True  # a recursive struct: look into it at run time rather than miss something
        return any(_mentions_raw(h, seen | {hint}) for h in typing.get_type_hints(hint).values())
    return any(_mentions_raw(arg, seen) for arg in typing.get_args(hint))


def is_set(raw: Raw) -> bool:
    """Whether a raw field was present (and not null) in the object."""
    return bytes(raw) not in {b"", b"null"}


def untyped(raw: Raw) -> Any:
    """A raw field as plain JSON values; None where it was absent."""
    return msgspec.json.decode(raw) if is_set(raw) else None
