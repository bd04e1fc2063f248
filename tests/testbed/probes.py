"""Probes and hooks of containers: one attempt each, and the loop with periods and thresholds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import aiohttp

Exec = Callable[[list[str]], Awaitable[int]]


def _port(container: Mapping[str, Any], value: int | str) -> int:
    if isinstance(value, int):
        return value
    for port in container.get("ports") or []:
        if port.get("name") == value:
            return int(port["containerPort"])
    return int(value)


async def _http(container: Mapping[str, Any], action: Mapping[str, Any], ip: str) -> bool:
    host = action.get("host") or ip
    url = f"{action.get('scheme', 'HTTP').lower()}://{host}:{_port(container, action['port'])}{action.get('path', '/')}"
    headers = {one["name"]: one["value"] for one in action.get("httpHeaders") or []}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(url, ssl=False, allow_redirects=False) as answer,
    ):
        return 200 <= answer.status < 400


async def attempt(container: Mapping[str, Any], probe: Mapping[str, Any], ip: str, run: Exec) -> bool:
    """One try of a probe (or of a lifecycle handler): did it succeed within its time?"""
    try:
        async with asyncio.timeout(float(probe.get("timeoutSeconds", 1))):
            if "httpGet" in probe:
                return await _http(container, probe["httpGet"], ip)
            if "tcpSocket" in probe:
                _, writer = await asyncio.open_connection(ip, _port(container, probe["tcpSocket"]["port"]))
                writer.close()
                return True
            if "exec" in probe:
                return await run(list(probe["exec"]["command"])) == 0
    except (OSError, TimeoutError, aiohttp.ClientError, ValueError):
        return False
    return False


async def watch(container: Mapping[str, Any], probe: Mapping[str, Any], ip: str, run: Exec, changed: Callable[[bool], None]) -> None:
    """Probes for ever; `changed` hears each success or failure that has reached its threshold."""
    needed = {True: int(probe.get("successThreshold", 1)), False: int(probe.get("failureThreshold", 3))}
    await asyncio.sleep(float(probe.get("initialDelaySeconds", 0)))
    last, count = False, 0
    while True:
        good = await attempt(container, probe, ip, run)
        count = count + 1 if good == last else 1
        last = good
        if count >= needed[good]:
            changed(good)
        await asyncio.sleep(float(probe.get("periodSeconds", 10)))
