"""Addresses for pods on one machine: a /16 of the loopback network for each sandbox, one address for each pod.

Linux answers on all of 127.0.0.0/8 without any configuration, so that every pod can listen on the same port and a test can tell pods
apart by address. A real API server refuses loopback addresses in an EndpointSlice; the sandbox's accepts them.
"""

import socket
from dataclasses import dataclass, field

_LOCK_PORT = 10250  # the kubelet's port: nobody else has a reason to bind it on such an address


class NoAddressError(Exception):
    """No free network or address is left."""


@dataclass
class Network:
    """One claimed /16; the claim is a bound socket, so it cannot outlive the process."""

    prefix: int
    _claim: socket.socket
    _next: int = 2
    _used: set[int] = field(default_factory=set)

    @classmethod
    def claim(cls) -> "Network":
        for prefix in range(1, 255):
            bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            try:
                bound.bind((f"127.{prefix}.0.1", _LOCK_PORT))
                bound.listen(1)
            except OSError:
                bound.close()
                continue
            return cls(prefix, bound)
        raise NoAddressError("all 254 loopback networks are in use; stop a sandbox first")

    @property
    def node(self) -> str:
        return self._text(1)

    def take(self) -> str:
        """The next address; one given back is not given out again until all others were, so that no stale route meets a new pod."""
        for _ in range(0xFFFD):
            number, self._next = self._next, self._next + 1 if self._next < 0xFFFE else 2
            if number not in self._used:
                self._used.add(number)
                return self._text(number)
        raise NoAddressError(f"all addresses of 127.{self.prefix}.0.0/16 are in use; delete some pods")

    def give_back(self, address: str) -> None:
        _, _, high, low = address.split(".")
        self._used.discard(int(high) * 256 + int(low))

    def close(self) -> None:
        self._claim.close()

    def _text(self, number: int) -> str:
        return f"127.{self.prefix}.{number >> 8}.{number & 255}"
