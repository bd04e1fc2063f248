"""A steady stream of requests, counted at the client: half over kept connections, half over new ones, none ever repeated.

Open loop: a request is sent when it is due, whatever the ones before it do, so a stall shows as failures and not as fewer requests.
Each carries an id that the app logs; `tests.witness.requests` compares the two records. It runs as a process of its own, so that
a busy test cannot slow it down.

    python -m tests.testbed.loadgen --url http://10.99.0.1 --host shop.test --rate 60 --out requests.jsonl
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import signal
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import aiohttp

if TYPE_CHECKING:
    from tests.testbed.controlplane import ControlPlane, Process

USERS = 200


@dataclass(frozen=True, kw_only=True)
class Load:
    """What the client saw: one record a request, in the order of answers."""

    records: list[dict[str, Any]] = field(repr=False)

    @property
    def total(self) -> int:
        return len(self.records)

    def outcomes(self) -> Counter[str]:
        """How many by outcome: a status as text, or the name of the connection's error."""
        return Counter(record["outcome"] for record in self.records)

    def failures(self) -> list[dict[str, Any]]:
        """Requests without a 200."""
        return [record for record in self.records if record["outcome"] != "200"]

    def transport_failures(self) -> list[dict[str, Any]]:
        """Requests that failed on the way: no answer of the app's (what a switch must never cause)."""
        return [record for record in self.records if record["pod"] is None]

    def by(self, key: str) -> Counter[str]:
        """How many by `version`, `track`, `pod`, `kept` ... among those that the app answered."""
        return Counter(str(record[key]) for record in self.records if record["pod"] is not None)

    def between(self, start: float, end: float) -> Load:
        """The requests sent within a window (Unix seconds)."""
        return Load(records=[record for record in self.records if start <= record["time"] < end])

    @property
    def rate(self) -> float:
        times = [record["time"] for record in self.records]
        return (len(times) - 1) / (max(times) - min(times)) if len(times) > 1 and max(times) > min(times) else 0.0


def read(path: Path) -> Load:
    return Load(records=[json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")])


class Sender:
    """Sends due requests and writes one line for each."""

    def __init__(self, url: str, host: str, out: TextIO, kept: aiohttp.ClientSession, fresh: aiohttp.ClientSession) -> None:
        self.url = url
        self.host = host
        self.out = out
        self.sessions = {True: kept, False: fresh}

    async def one(self, number: int) -> None:
        identity, keep = uuid.uuid4().hex, number % 2 == 0
        headers = {"Host": self.host, "X-Request-Id": identity, "X-User": f"user-{number % USERS}"}
        sent, started = time.time(), time.monotonic()
        body: dict[str, Any] = {}
        try:
            async with self.sessions[keep].get(self.url + "/", headers=headers, allow_redirects=False) as answer:
                outcome = str(answer.status)
                text = await answer.text()
                if answer.content_type == "application/json":
                    body = json.loads(text)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            outcome = type(error).__name__
        record = {"time": sent, "id": identity, "ms": round((time.monotonic() - started) * 1000, 1), "outcome": outcome, "kept": keep}
        record |= {key: body.get(key) for key in ("pod", "version", "track", "flag")}
        self.out.write(json.dumps(record) + "\n")


async def send(url: str, host: str, rate: float, out: TextIO, limit: int) -> None:
    """Until SIGTERM or `limit` requests; then waits for the answers still due."""
    stop = asyncio.Event()
    for ending in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(ending, stop.set)
    timeout = aiohttp.ClientTimeout(total=10)
    async with AsyncExitStack() as stack:
        kept = await stack.enter_async_context(aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)))
        fresh = await stack.enter_async_context(
            aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0, force_close=True))
        )
        for session in (kept, fresh):
            # The client repeats a GET whose kept connection was closed; the one switch for that has no public name.
            session._retry_connection = False
        sender = Sender(url, host, out, kept, fresh)
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        begun = time.monotonic()
        for number in itertools.count() if limit == 0 else range(limit):
            delay = begun + number / rate - time.monotonic()
            if delay > 0:
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), delay)
            if stop.is_set():
                break
            tasks.create_task(sender.one(number))


class LoadGenerator:
    """A running stream; `stop()` ends it and gives what it saw."""

    def __init__(self, process: Process, out: Path) -> None:
        self.process = process
        self.out = out

    def so_far(self) -> Load:
        return read(self.out)

    def await_total(self, count: int, timeout: float = 60.0) -> Load:
        """Until so many requests have been answered."""
        deadline = time.monotonic() + timeout
        while (load := self.so_far()).total < count:
            if time.monotonic() > deadline or self.process.popen.poll() is not None:
                raise TimeoutError(f"{load.total} of {count} requests after {timeout:.0f} s: {self.process.tail()}")
            time.sleep(0.1)
        return load

    def stop(self) -> Load:
        self.process.stop(15)
        return read(self.out)


def start_load(plane: ControlPlane, url: str, host: str, *, rate: float = 60.0, limit: int = 0, name: str | None = None) -> LoadGenerator:
    """Sends `rate` requests a second (for ever, or `limit` of them) from a process in the cluster's namespace."""
    label = name or f"load-{uuid.uuid4().hex[:6]}"
    out = plane.directory / f"{label}.jsonl"
    out.touch()
    program = [
        sys.executable,
        "-m",
        "tests.testbed.loadgen",
        "--url",
        url,
        "--host",
        host,
        "--rate",
        str(rate),
        "--limit",
        str(limit),
        "--out",
        str(out),
    ]
    return LoadGenerator(plane.popen(program, name=label, cwd=Path(__file__).resolve().parents[2]), out)


def main(arguments: Iterable[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="send requests at a steady rate")
    parser.add_argument("--url", required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--rate", type=float, default=60.0)
    parser.add_argument("--limit", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(list(arguments) if arguments is not None else None)
    with options.out.open("a", buffering=1) as out:
        asyncio.run(send(options.url, options.host, options.rate, out, options.limit))


if __name__ == "__main__":
    main()
