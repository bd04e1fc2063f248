"""Which proxy an address is reached by: HTTPS_PROXY, HTTP_PROXY and NO_PROXY, read as Go programs read them.

Clusters write NO_PROXY for Go: with networks (10.0.0.0/8) and names with a leading dot. Python's own reading knows no
networks, so that every request to a pod or a Service address would go to the company's proxy and die there.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def proxy_for(url: str, environ: Mapping[str, str] = os.environ) -> str | None:
    """The proxy's address, None for a direct connection. Lower case wins, as everywhere."""
    parts = urlsplit(url)
    name = f"{parts.scheme}_proxy"
    proxy = (environ.get(name) or environ.get(name.upper()) or "").strip()
    host = (parts.hostname or "").rstrip(".").lower()
    if not proxy or not host or _bypassed(host, parts.port or DEFAULT_PORTS.get(parts.scheme, 0), environ):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _bypassed(host: str, port: int, environ: Mapping[str, str]) -> bool:
    address = _address(host)
    if host == "localhost" or (address is not None and address.is_loopback):
        return True
    text = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    return any(_matches(entry.strip().lower(), host, port, address) for entry in text.split(",") if entry.strip())


def _matches(entry: str, host: str, port: int, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None) -> bool:
    """`*`, a network, an address, or a name with all that ends in it; either of the last two with a port."""
    if entry == "*":
        return True
    if "/" in entry:
        try:
            return address is not None and address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    name, wanted = _port(entry)
    if wanted is not None and wanted != port:
        return False
    other = _address(name)
    if other is not None or address is not None:
        return other == address
    if name.startswith("*."):
        name = name[1:]
    return host.endswith(name) if name.startswith(".") else host == name or host.endswith(f".{name}")


def _port(entry: str) -> tuple[str, int | None]:
    if entry.startswith("["):
        name, _, rest = entry[1:].partition("]")
        return name, int(rest[1:]) if rest[1:].isdigit() else None
    name, colon, port = entry.rpartition(":")
    return (name, int(port)) if colon and port.isdigit() and ":" not in name else (entry, None)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
