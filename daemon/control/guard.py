"""Outbound HTTP for addresses that tenants write: never to this node, this pod, or a cloud's metadata service.

A template may name any address, and the daemon has rights that its author lacks. The address is therefore checked where it is
connected to, after the name was resolved: a name that points elsewhere at the second look changes nothing.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from analyzers.sources.protocol import HttpReply
from daemon.control.http import Http

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Metadata services that do not live at a link-local address.
METADATA: Final = (
    ipaddress.ip_network("fd00:ec2::254/128"),
    ipaddress.ip_network("100.100.100.200/32"),
    ipaddress.ip_network("168.63.129.16/32"),
)
NAMES: Final = ("metadata.google.internal", "metadata.goog")
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


class AddressRefused(OSError):
    """An address that no template may speak to."""

    def __init__(self, message: str) -> None:
        super().__init__(errno.EACCES, message)  # what aiohttp repeats of it is the second

    def __str__(self) -> str:
        return str(self.strerror)


class Guard:
    """Which addresses may be spoken to. `allowed` lifts the refusal for networks that the operator names."""

    def __init__(self, allowed: Sequence[str] = ()) -> None:
        self._allowed: tuple[Network, ...] = tuple(ipaddress.ip_network(text, strict=False) for text in allowed)

    def problem(self, host: str) -> str | None:
        """Why this host, a literal address or a name, may not be spoken to."""
        if host.rstrip(".").lower() in NAMES:
            return f"{host} is a cloud's metadata service"
        try:
            address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
        except ValueError:
            return None  # a name: what it resolves to is checked when it is connected to
        plain = _plain(address)
        if any(plain.version == network.version and plain in network for network in self._allowed):
            return None
        kind = _kind(plain)
        return f"{host} is {kind}; an operator may allow it with --allow-address" if kind else None


def _plain(address: Address) -> Address:
    """An IPv4 address however it is wrapped."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is not None:
            return inner
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _kind(address: Address) -> str:
    if any(address.version == network.version and address in network for network in METADATA):
        return "a cloud's metadata service"
    if address.is_link_local:
        return "a link-local address, where nodes and clouds keep their metadata"
    if address.is_loopback or address.is_unspecified:
        return "Linnet's own pod"
    return "no host's address" if address.is_multicast else ""


class _Resolver(AbstractResolver):
    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._inner = ThreadedResolver()

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        for one in found:
            problem = self._guard.problem(one["host"])
            if problem:
                raise AddressRefused(f"{host} may not be asked: {problem}")
        return found

    async def close(self) -> None:
        await self._inner.close()


class GuardedHttp(Http):
    """Implements the analyzers' `HttpClient` for the addresses of templates."""

    def __init__(self, guard: Guard) -> None:
        super().__init__()
        self._guard = guard

    def connector(self) -> aiohttp.TCPConnector:
        return aiohttp.TCPConnector(limit=100, limit_per_host=8, resolver=_Resolver(self._guard), use_dns_cache=False)

    async def request(self, method: str, url: str, *, headers: Mapping[str, str], data: bytes | None, deadline: float) -> HttpReply:
        """AddressRefused, an OSError, where the address is not for templates."""
        host = urlsplit(url).hostname or ""
        problem = self._guard.problem(host)
        if problem:
            raise AddressRefused(f"{host} may not be asked: {problem}")
        return await super().request(method, url, headers=headers, data=data, deadline=deadline)
