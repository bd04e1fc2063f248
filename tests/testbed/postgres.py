"""A real PostgreSQL for one server of the tests, in the network namespace of the thread that starts it.

PostgreSQL refuses to run as root, and tests run as root in a namespace. So it gets an ordinary account of the machine, or, where root
is only the root of a user namespace, a user namespace below that one.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.testbed.controlplane import ControlPlaneError, Process

PORT = 54329
USER = "unleash"
# Nothing here must outlive the test, so nothing waits for a disk.
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "40",
    "timezone": "UTC",
}


def binaries() -> Path | None:
    """The folder with initdb and postgres: on PATH, or where Debian's package puts it."""
    named = shutil.which("initdb")
    found = [Path(named).resolve().parent] if named else []
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in found if (folder / "postgres").exists() and (folder / "initdb").exists()), None)


def unavailable() -> str | None:
    """Why PostgreSQL cannot run here and the way out, or None."""
    return None if binaries() else "no PostgreSQL server: install the Debian package postgresql (or put initdb on PATH)"


def _account() -> str:
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _root_of_all() -> bool:
    return int(Path("/proc/self/uid_map").read_text().split()[2]) > 2**16


def _ordinary(command: list[str]) -> list[str]:
    """The command under an account that is not root."""
    if os.geteuid() != 0:
        return command
    if _root_of_all():
        entry = pwd.getpwnam(_account())
        return ["setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups", "--", *command]
    return ["unshare", "--user", f"--map-user={pwd.getpwnam('nobody').pw_uid}", "--", *command]


class Postgres:
    """`start`, `stop` and `query`; the data stay until the folder goes."""

    def __init__(self, folder: Path, port: int = PORT) -> None:
        found = binaries()
        if found is None:
            raise ControlPlaneError(f"{unavailable()}")
        self.port = port
        self._bin = found
        self._folder = folder / "postgres"
        self._process: Process | None = None

    def start(self) -> None:
        """Returns when it takes connections."""
        data = self._folder / "data"
        if not data.exists():
            self._folder.mkdir(parents=True)
            if os.geteuid() == 0 and _root_of_all():
                shutil.chown(self._folder, _account())
            options = ["-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
            self._run([str(self._bin / "initdb"), "-D", str(data), *options])
        settings = [f"-c{name}={value}" for name, value in {**SETTINGS, "unix_socket_directories": str(self._folder)}.items()]
        log = self._folder.parent / "postgres.log"
        with log.open("ab") as output:
            command = _ordinary([str(self._bin / "postgres"), "-D", str(data), "-p", str(self.port), *settings])
            popen = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=self._folder, start_new_session=True
            )
        self._process = Process(name="postgres", popen=popen, log=log)
        self._await_ready()

    def stop(self) -> None:
        """Ends all connections at once, as a lost database does."""
        if self._process is not None:
            if self._process.popen.poll() is None:
                self._process.popen.send_signal(signal.SIGINT)  # "fast": does not wait for clients
            self._process.stop(10)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """All of its processes stand still: connections stay, and nothing answers."""
        process = self._process
        assert process is not None
        listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.popen.pid)], capture_output=True, text=True, check=False).stdout
        pids = [process.popen.pid, *map(int, listed.split())]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def query(self, sql: str, database: str = USER) -> str:
        """What psql prints, unaligned and without headings."""
        options = ["-qAtX", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(self.port), "-U", USER, "-d", database]
        return self._run([str(self._bin / "psql"), *options, "-c", sql]).strip()

    def _run(self, command: list[str]) -> str:
        done = subprocess.run(
            _ordinary(command), cwd=self._folder, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL
        )
        if done.returncode != 0:
            raise ControlPlaneError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def _await_ready(self, timeout: float = 30.0) -> None:
        deadline = time.monotonic() + timeout
        while True:
            try:
                self.query("SELECT 1", "postgres")
            except ControlPlaneError as error:
                process = self._process
                if process is None or process.popen.poll() is not None or time.monotonic() > deadline:
                    raise ControlPlaneError(f"PostgreSQL is not ready: {error}\n{process.tail() if process else ''}") from error
                time.sleep(0.1)
            else:
                return
