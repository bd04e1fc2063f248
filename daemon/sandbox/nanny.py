"""Ends what a sandbox started when the sandbox itself can no longer do so.

A killed process cannot clean up. So each sandbox starts this script first and keeps one end of a pipe; every process of the sandbox
carries the same mark in its environment, children of children too. When the pipe closes, for whatever reason, all that carry the
mark are killed. It uses the standard library alone and is started without site packages, to cost little.
"""

import os
import signal
import sys
import time
from pathlib import Path

MARK = "LINNET_SANDBOX"


def marked(mark: str) -> list[int]:
    """The ids of living processes that carry the mark; those of other users cannot be read, and are none of ours."""
    wanted, found = f"{MARK}={mark}".encode(), []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def kill_marked(mark: str, *, settle: float = 0.0, limit: float = 5.0) -> None:
    """Kill until none was seen for `settle` seconds; a process caught between fork and exec shows its mark a moment later."""
    end = time.monotonic() + limit
    quiet_since = time.monotonic()
    while time.monotonic() < end:
        living = marked(mark)
        for pid in living:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if living:
            quiet_since = time.monotonic()
        elif time.monotonic() - quiet_since >= settle:
            return
        time.sleep(0.02)


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.read(0, 1):
        pass
    kill_marked(sys.argv[1], settle=0.5)


if __name__ == "__main__":
    main()
