"""Probes and lifecycle handlers: the questions a kubelet asks a container, over the pod's own address."""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from daemon.sandbox.controllers.objects import Object
from daemon.sandbox.podspec import port_number
from daemon.sandbox.processes import Family, LogRing

Answer = tuple[bool, str]


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a handler needs to know of its container."""

    address: str
    container: Object
    env: Mapping[str, str]
    cwd: Path
    family: Family
    http: aiohttp.ClientSession


async def ask(handler: Object, around: Surroundings, timeout: float) -> Answer:  # noqa: ASYNC109 - a probe has a timeout by its spec
    """One httpGet, tcpSocket or exec; never raises for what the container does."""
    try:
        async with asyncio.timeout(timeout):
            if "httpGet" in handler:
                return await _http(handler["httpGet"], around)
            if "tcpSocket" in handler:
                return await _tcp(handler["tcpSocket"], around)
            if "exec" in handler:
                return await _exec(handler["exec"].get("command") or [], around)
    except TimeoutError:
        return False, f"context deadline exceeded (timeout {timeout:g}s)"
    except (OSError, aiohttp.ClientError) as error:
        return False, str(error)
    return False, f"probe of kind {', '.join(handler) or 'nothing'} is not simulated; use httpGet, tcpSocket or exec"


async def _http(get: Object, around: Surroundings) -> Answer:
    scheme = str(get.get("scheme") or "HTTP").lower()
    host, port = get.get("host") or around.address, port_number(around.container, get["port"])
    path = str(get.get("path") or "/")
    headers = {h["name"]: h["value"] for h in get.get("httpHeaders") or ()}
    url = f"{scheme}://{host}:{port}{path if path.startswith('/') else '/' + path}"
    async with around.http.get(url, headers={"User-Agent": "kube-probe/sandbox"} | headers, ssl=False) as response:
        if 200 <= response.status < 400:
            return True, ""
        return False, f"HTTP probe failed with statuscode: {response.status}"


async def _tcp(socket: Object, around: Surroundings) -> Answer:
    _, writer = await asyncio.open_connection(socket.get("host") or around.address, port_number(around.container, socket["port"]))
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True, ""


async def _exec(argv: Sequence[str], around: Surroundings) -> Answer:
    log = LogRing(20)
    async with around.family.running(argv, env=around.env, cwd=around.cwd, log=log) as process:
        code = await process.wait()
    return code == 0, "\n".join(log.tail())


async def pre_stop(container: Object, around: Surroundings, limit: float) -> Answer:
    """The preStop hook, within the pod's grace."""
    handler = (container.get("lifecycle") or {}).get("preStop")
    if not handler or limit <= 0:
        return True, ""
    if "sleep" in handler:
        await asyncio.sleep(min(float(handler["sleep"]["seconds"]), limit))
        return True, ""
    return await ask(handler, around, limit)


async def repeat(probe: Object, question: Callable[[float], Awaitable[Answer]], report: Callable[[bool, str, bool], None]) -> None:
    """Ask for ever; `report(ok, message, settled)` says each answer, `settled` once it was given often enough in a row."""
    await asyncio.sleep(float(probe.get("initialDelaySeconds") or 0))
    last, streak = None, 0
    while True:
        ok, message = await question(float(probe.get("timeoutSeconds") or 1))
        streak = streak + 1 if ok is last else 1
        last = ok
        needed = int(probe.get("successThreshold") or 1) if ok else int(probe.get("failureThreshold") or 3)
        report(ok, message, streak >= needed)
        await asyncio.sleep(float(probe.get("periodSeconds") or 10))


def stop_signal(container: Object) -> signal.Signals:
    """SIGTERM, or what `lifecycle.stopSignal` names."""
    name = (container.get("lifecycle") or {}).get("stopSignal") or "SIGTERM"
    return signal.Signals[name]
