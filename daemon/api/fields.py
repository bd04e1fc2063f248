"""The vocabulary of field types shared by all kinds: bounded strings, durations, percentages, and marks for what is planned.

Every string and list is bounded because the API server prices CEL rules by the largest object that could be stored. A field
whose behaviour does not exist yet is in the schema from the start, marked `planned`, and refused by name: never accepted
and ignored.
"""

from typing import Annotated, Any, Final, Literal

import msgspec

PLANNED: Final = "x-linnet-planned"  # the whole field
PLANNED_VALUES: Final = "x-linnet-planned-values"  # these enum values
BUILT_ITEMS: Final = "x-linnet-built-items"  # a list longer than this
CEL: Final = "x-kubernetes-validations"
PORT_NAME_LIMIT: Final = 63


def planned(description: str) -> msgspec.Meta:
    """Marks a field that is part of the API but not built: validation refuses it with 'not in this version'."""
    return msgspec.Meta(description=description, extra_json_schema={PLANNED: True})


def doc(description: str, *, planned_values: tuple[str, ...] = (), built_items: int | None = None, **limits: Any) -> msgspec.Meta:
    """Documents a field; `limits` are msgspec's own (`ge`, `max_length`, ...)."""
    extra: dict[str, Any] = {}
    if planned_values:
        extra[PLANNED_VALUES] = list(planned_values)
    if built_items is not None:
        extra[BUILT_ITEMS] = built_items
    return msgspec.Meta(description=description, extra_json_schema=extra or None, **limits)


class Model(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base of every API struct: immutable, keyword-only, camelCase on the wire, silent about what is unset."""


def wire(name: str) -> str:
    """How a field of a Model is written in an object."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


Name = Annotated[str, msgspec.Meta(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
ObjectName = Annotated[str, msgspec.Meta(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
FlagKey = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9_.~-]+$")]
Text = Annotated[str, msgspec.Meta(max_length=1024)]
Word = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Duration = Annotated[str, msgspec.Meta(min_length=2, max_length=24, pattern=r"^([0-9]{1,5}(h|m|s|ms)){1,4}$")]
Percent = Annotated[int, msgspec.Meta(ge=0, le=100)]
Risk = Annotated[float, msgspec.Meta(gt=0, le=50)]
Margin = Annotated[
    str,
    msgspec.Meta(
        min_length=2,
        max_length=24,
        pattern=r"^([0-9]{1,4}(\.[0-9]{1,4})?(%|x)(\+[0-9]{1,3}(\.[0-9]{1,4})?pp)?|[0-9]{1,3}(\.[0-9]{1,4})?pp)$",
    ),
]
Query = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
Weekday = Literal["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
WallTime = Annotated[str, msgspec.Meta(min_length=5, max_length=5, pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$")]
Time = Annotated[str, msgspec.Meta(max_length=40)]  # RFC 3339, UTC, whole seconds or microseconds


class LocalRef(Model, frozen=True, kw_only=True):
    """Names an object of a known kind, looked up in the Canary's namespace and then in the catalogue namespace."""

    name: ObjectName
