"""Processes of the sandbox: started in a group of their own, marked, and never outliving their owner."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

from daemon.sandbox import nanny

_LINE_LIMIT = 1 << 20


class LogRing:
    """The last lines that a process wrote."""

    def __init__(self, lines: int = 2000) -> None:
        self._lines: deque[str] = deque(maxlen=lines)
        self._listeners: list[Callable[[str], None]] = []

    def append(self, line: str) -> None:
        self._lines.append(line)
        for listener in tuple(self._listeners):
            listener(line)

    def tail(self, count: int | None = None) -> list[str]:
        lines = list(self._lines)
        return lines if count is None else lines[max(0, len(lines) - count) :]

    @contextlib.contextmanager
    def listening(self, listener: Callable[[str], None]) -> Iterator[None]:
        """Hand each new line to the listener meanwhile."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)


class Process:
    """A running child and its process group."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        self._child = child

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def returncode(self) -> int | None:
        """The exit status as a shell shows it: 128 + n after signal n."""
        code = self._child.returncode
        return code if code is None or code >= 0 else 128 - code

    @property
    def ended_by(self) -> int | None:
        """The signal that ended it, if one did."""
        code = self._child.returncode
        return -code if code is not None and code < 0 else None

    async def wait(self) -> int:
        await self._child.wait()
        assert self.returncode is not None
        return self.returncode

    def terminate(self, number: signal.Signals) -> None:
        """Send a signal to the process alone, as a container runtime does to the first process of a container."""
        if self._child.returncode is None:
            self._child.send_signal(number)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the whole group; one that is gone already is no error."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, number)


class Family:
    """All processes of one sandbox, with the nanny that outlives it."""

    def __init__(self) -> None:
        self.mark = uuid.uuid4().hex
        self._nanny: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What a process must carry in its environment to be ended with the sandbox."""
        return {nanny.MARK: self.mark}

    @property
    def nanny(self) -> int:
        """The process that outlives the sandbox until it has ended all others."""
        assert self._nanny is not None
        return self._nanny.pid

    def __enter__(self) -> Self:
        command = [sys.executable, "-I", "-S", str(Path(nanny.__file__)), self.mark]
        environment = {k: v for k, v in os.environ.items() if k != nanny.MARK}
        self._nanny = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, start_new_session=True, close_fds=True)
        return self

    def __exit__(self, *_: object) -> None:
        nanny.kill_marked(self.mark)
        if self._nanny is not None and self._nanny.stdin is not None:
            self._nanny.stdin.close()
            self._nanny.kill()
            self._nanny.wait()

    @contextlib.asynccontextmanager
    async def running(self, argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: LogRing) -> AsyncIterator[Process]:
        """A process while the block runs; its group is killed when the block is left, however that happens."""
        child = await asyncio.create_subprocess_exec(
            *argv,
            env={**env, **self.environment},
            cwd=cwd,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            limit=_LINE_LIMIT,
        )
        process = Process(child)
        assert child.stdout is not None
        pump = asyncio.create_task(_pump(child.stdout, log))
        try:
            yield process
        finally:
            process.send(signal.SIGKILL)
            await child.wait()
            # Let the pump read what the pipe still holds, but never wait for a grandchild that left the group with it.
            await asyncio.wait([pump], timeout=0.2)
            pump.cancel()
            await asyncio.wait([pump])
            child._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001 - asyncio offers no public way


async def _pump(stream: asyncio.StreamReader, log: LogRing) -> None:
    while True:
        try:
            line = await stream.readline()
        except ValueError:  # a line beyond the limit: asyncio has dropped what it had of it
            continue
        if not line:
            return
        log.append(line.decode(errors="replace").rstrip("\n"))
