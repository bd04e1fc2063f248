"""Network namespaces for the real parts: every control plane has its own, so ports never clash and no packet leaves the machine.

A test process *enters* the namespace (`enter`), because everything a test talks to (API server, gateway, pods) is loopback in
there. `setns` moves one thread; threads and processes started later by it follow. Python has `os.setns` only from 3.12 on, hence
ctypes. Names carry the pid of their owner, so that what a killed run left behind is found and removed by the next one.
"""

from __future__ import annotations

import atexit
import ctypes
import itertools
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

CLONE_NEWNET = 0x40000000
FOLDER = Path("/run/netns")
PREFIX = "linnet-"
NETWORK = "10.99.0.1/16"  # every address of it is local to the namespace's loopback interface
_libc = ctypes.CDLL(None, use_errno=True)
_count = itertools.count()


class NetnsError(RuntimeError):
    """A network namespace could not be made or entered."""


def unavailable() -> str | None:
    """Why namespaces cannot be made here, or None."""
    if shutil.which("ip") is None or shutil.which("nsenter") is None:
        return "no `ip` or `nsenter` on PATH: install the packages iproute2 and util-linux"
    if os.geteuid() != 0:
        return "not root: run the tests as `unshare -rnm sh -c 'mount -t tmpfs tmpfs /run && exec make test'`"
    return None


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=30, check=False)
    if done.returncode != 0:
        raise NetnsError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def create() -> str:
    """A new namespace of this process with `lo` up and 10.99.0.0/16 on it; removed at exit at the latest."""
    reason = unavailable()
    if reason:
        raise NetnsError(reason)
    sweep()
    name = f"{PREFIX}{os.getpid()}-{next(_count)}"
    _ip("netns", "add", name)
    _ip("-n", name, "link", "set", "lo", "up")
    _ip("-n", name, "address", "add", NETWORK, "dev", "lo")
    atexit.register(_delete_if_mine, name, os.getpid())
    return name


def _delete_if_mine(name: str, owner: int) -> None:
    if os.getpid() == owner:
        delete(name)


def pids(name: str) -> list[int]:
    """Processes whose network namespace this is (our own threads that entered it apart)."""
    done = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, timeout=30, check=False)
    return [int(pid) for pid in done.stdout.split() if int(pid) != os.getpid()]


def delete(name: str, patience: float = 5.0) -> None:
    """Ends every process in the namespace and removes it."""
    if not (FOLDER / name).exists():
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + patience
        _signal_all(name, number)
        while pids(name) and time.monotonic() < deadline:
            time.sleep(0.05)
            _signal_all(name, number)
    subprocess.run(["ip", "netns", "delete", name], capture_output=True, timeout=30, check=False)


def _signal_all(name: str, number: signal.Signals) -> None:
    for pid in pids(name):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def sweep() -> list[str]:
    """Removes namespaces whose owner is gone (a killed test run)."""
    gone = []
    for path in FOLDER.glob(f"{PREFIX}*"):
        found = re.fullmatch(rf"{PREFIX}(\d+)-\d+", path.name)
        if found and not Path(f"/proc/{found[1]}").exists():
            delete(path.name, patience=1.0)
            gone.append(path.name)
    return gone


def _setns(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise NetnsError(f"setns: {os.strerror(number)}")


@contextmanager
def entered(name: str) -> Iterator[None]:
    """The calling thread, and what it starts, is inside the namespace within the block."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        inside = os.open(FOLDER / name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(inside)
        finally:
            os.close(inside)
        try:
            yield
        finally:
            _setns(home)
    finally:
        os.close(home)


def call(name: str, function: Callable[[], T]) -> T:
    """Runs a function in a thread inside the namespace; the caller stays where it is."""
    answers: list[T] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            with entered(name):
                answers.append(function())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=body, name=f"in {name}")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return answers[0]


def command(name: str, *arguments: str) -> list[str]:
    """The argv that runs a command inside the namespace (the process started becomes the command itself)."""
    return ["nsenter", f"--net={FOLDER / name}", "--", *arguments]
