"""What is wrong with an object, said so that its author can put it right: the field, the value, the reason, the way out."""

from collections.abc import Iterator
from typing import Any

import msgspec


class FieldError(msgspec.Struct, frozen=True, kw_only=True):
    """One thing wrong with one field. `reason` is for programs (CamelCase), `message` for people and holds the way out."""

    path: str
    reason: str
    message: str
    value: Any = None

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


Errors = Iterator[FieldError]


def fault(path: str, value: Any, message: str, reason: str = "InvalidValue") -> FieldError:
    return FieldError(path=path, reason=reason, value=value, message=message)


class ApiError(Exception):
    """Root of this package's errors: an object that cannot be used as it is. Trying again does not help."""

    retryable = False

    def __init__(self, message: str, *, reason: str = "InvalidObject", errors: tuple[FieldError, ...] = ()) -> None:
        super().__init__(message)
        self.reason = reason
        self.errors = errors


class InvalidObjectError(ApiError):
    """An object with field errors; all of them, not only the first."""

    def __init__(self, errors: list[FieldError]) -> None:
        super().__init__("; ".join(str(error) for error in errors), reason=errors[0].reason, errors=tuple(errors))
