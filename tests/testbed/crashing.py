"""Linnet that dies, as by SIGKILL, at points of its work that a test names: the image `linnet-crash:<point>_<point>...`.

A point is `before.SetWeight.20`, `after.SetFlag.100` or `before.DeleteCanary`: the moment, the action of the core and the value of its
weight or percent where it has one. Each happens once for a pod (a mark in its /tmp, which outlives the container). Nothing of this is
in the daemon: the class that carries actions out is wrapped here, from outside.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from daemon.cli.main import main
from daemon.control.execute import Executor

POINTS = set(os.environ.get("LINNET_IMAGE", "").rpartition(":")[2].split("_"))
MARKS = Path(os.environ.get("CRASH_MARKS", "/tmp"))


def die(moment: str, action: Any) -> None:
    """Ends the process if this is one of the points, and was not yet."""
    name = f"{moment}.{type(action).__name__}"
    value = getattr(action, "weight", getattr(action, "percent", None))
    for point in {name, f"{name}.{value}"} & POINTS:
        mark = MARKS / point
        if not mark.exists():
            mark.touch()
            os._exit(137)


_run = Executor.run


async def run(self: Executor, resolved: Any, action: Any) -> None:
    die("before", action)
    await _run(self, resolved, action)
    die("after", action)


if __name__ == "__main__":
    Executor.run = run  # type: ignore[method-assign]
    main()
