"""Why: kubectl writes the objects that it makes up by itself (`create namespace`, `create token`, `drain`) in Kubernetes' protobuf.

Only requests are read; answers are JSON, which every client takes. The numbers of the fields are in `builtin_types.json`.
"""

from __future__ import annotations

import base64
import datetime as dt
import functools
import struct
from collections.abc import Iterator
from typing import Any

import msgspec

from daemon.sandbox import schema
from daemon.sandbox.errors import JSON, bad_request
from daemon.sandbox.schema import Node

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
Wire = dict[int, list[Any]]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield tag >> 3, value
        elif kind == _BYTES:
            size, at = _varint(data, at)
            if at + size > len(data):
                raise IndexError
            yield tag >> 3, data[at : at + size]
            at += size
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
            yield tag >> 3, struct.unpack("<d" if size == 8 else "<f", data[at : at + size])[0]
            at += size
        else:
            raise ValueError(f"wire type {kind}")


def _wire(data: bytes) -> Wire:
    out: Wire = {}
    for number, value in _fields(data):
        out.setdefault(number, []).append(value)
    return out


def decode(data: bytes) -> JSON:
    """The object of a request body; 400 when it is none that is known."""
    try:
        if data[:4] != _MAGIC:
            raise ValueError("it does not begin with the magic number")
        unknown = _wire(data[4:])
        types = _wire(unknown[1][0])
        version, kind = types[1][0].decode(), types[2][0].decode()
        node = schema.delete_options() if kind == "DeleteOptions" else schema.of_kind(version, kind)
        if node is None:
            raise ValueError(f"{version} {kind} is not known")
        obj = _object(node, unknown[2][0])
    except (ValueError, KeyError, IndexError, struct.error, msgspec.DecodeError) as e:
        raise bad_request(f"couldn't decode the protobuf body: {e}") from None
    return {"apiVersion": version, "kind": kind, **obj}


Numbers = dict[int, Any]  # number -> (name, Node), or Numbers of an inlined struct


@functools.cache
def _numbers(node: Node) -> Numbers:
    out: Numbers = {}
    for name, child in node.props.items():
        *outer, last = child.raw.get("x-number") or [0]
        at = out
        for number in outer:
            at = at.setdefault(number, {})
        at[last] = (name, child)
    return out


def _object(node: Node, data: bytes) -> JSON:
    out: JSON = {}
    _read(_numbers(node), data, out)
    return out


def _read(numbers: Numbers, data: bytes, out: JSON) -> None:
    for number, values in _wire(data).items():
        known = numbers.get(number)
        if isinstance(known, dict):
            for value in values:
                _read(known, value, out)
        elif known is not None:
            name, child = known
            out[name] = _value(child, values)


def _value(node: Node, values: list[Any]) -> Any:
    if node.type == "array" and node.items is not None:
        return [_one(node.items, v) for v in values]
    if node.additional is not None:
        return dict(_entry(node.additional, v) for v in values)
    return _one(node, values[-1])


def _entry(node: Node, data: bytes) -> tuple[str, Any]:
    wire = _wire(data)
    return wire.get(1, [b""])[0].decode(), _value(node, wire.get(2, [b""]))


def _one(node: Node, value: Any) -> Any:
    form = node.raw.get("format")
    if form == "date-time":
        return _time(_wire(value))
    if form == "quantity":
        return _wire(value).get(1, [b"0"])[0].decode()
    if form == "int-or-string":
        wire = _wire(value)
        return wire.get(3, [b""])[0].decode() if wire.get(1, [0])[0] else _signed(wire.get(2, [0])[0])
    if node.type == "string":
        return base64.b64encode(value).decode() if form == "byte" else value.decode()
    if node.type == "boolean":
        return bool(value)
    if node.type == "integer":
        return _signed(value)
    if node.type == "number":
        return value
    if node.props:
        return _object(node, value)
    return msgspec.json.decode(_wire(value).get(1, [b"null"])[0])


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


def _time(wire: Wire) -> str | None:
    if 1 not in wire:
        return None
    seconds, nanos = _signed(wire[1][0]), wire.get(2, [0])[0]
    moment = dt.datetime.fromtimestamp(seconds, dt.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + (f".{nanos // 1000:06d}Z" if nanos else "Z")
