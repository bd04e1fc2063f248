"""What an instant query answers: a number, or a list of them, for a condition to look at.

NaN and infinities stay what they are, since a condition may ask for them. What the server itself calls incomplete is a failure,
never a value.
"""

from __future__ import annotations

from typing import Any

import msgspec

from analyzers.sources.protocol import Failure, FailureKind, HttpReply, Value, ValueOutcome
from analyzers.sources.replies import MOST_VALUES, not_metrics, refused, unusable


class _Data(msgspec.Struct, rename="camel"):
    result_type: str = ""
    result: Any = None


class _Answer(msgspec.Struct, rename="camel"):
    status: str = ""
    data: _Data | None = None
    error: str = ""
    warnings: list[str] = []
    is_partial: bool = False


def read_instant(reply: HttpReply, query: str) -> ValueOutcome:
    """Pure: the reply of an instant query as a value."""
    try:
        answer = msgspec.json.decode(reply.body, type=_Answer)
    except msgspec.MsgspecError:
        answer = None
    if reply.status != 200:
        return refused(reply, said=answer.error if answer else "", asked=query)
    if answer is None:
        return not_metrics(reply)
    if answer.status != "success" or answer.data is None:
        return unusable(f"{answer.error or 'no data'} ({query})")
    if answer.warnings or answer.is_partial:
        return Failure(
            kind=FailureKind.SERVER_ERROR, retryable=True, message=f"the answer is incomplete: {'; '.join(answer.warnings) or 'isPartial'}"
        )
    return _value_of(answer.data, query)


def _value_of(data: _Data, query: str) -> ValueOutcome:
    try:
        if data.result_type == "scalar":
            return Value(value=float(data.result[1]))
        if data.result_type != "vector":
            return unusable(f"{query} returns a {data.result_type or 'nameless type'}: ask for one moment, not for a range")
        if len(data.result) > MOST_VALUES:
            return unusable(f"{query} returns {len(data.result)} series, at most {MOST_VALUES} are read: aggregate them")
        values = [float(series["value"][1]) for series in data.result]
    except (TypeError, ValueError, KeyError, IndexError) as error:
        return unusable(f"{query}: the answer cannot be read: {type(error).__name__}: {error}")
    return Value(value=values)
