"""Bounds of a value that no type can say, and that more than one kind has: durations above zero, ports by number or name."""

from daemon.api import names
from daemon.api.errors import Errors, fault
from daemon.api.quantities import parse_duration


def positive(duration: str | None, path: str) -> Errors:
    if duration is not None and parse_duration(duration) <= 0:
        yield fault(path, duration, f"{duration} must be longer than 0s; leave it out for the default")


def port_faults(port: int | str | None, path: str) -> Errors:
    if isinstance(port, int) and not 1 <= port <= 65535:
        yield fault(path, port, f"{port} is not a port: a number from 1 to 65535, or a port's name")
    if isinstance(port, str) and not names.is_label(port):
        hint = f"; write the number {port} without quotes" if port.isdigit() else ""
        yield fault(path, port, f"{port!r} is not the name of a port{hint}")
