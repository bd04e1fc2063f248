"""Becomes a container: a root of its own, the pod's volumes at their paths, then the command. Run by the node agent.

    python podexec.py SPEC.json COMMAND [ARGUMENT ...]

SPEC: {"scratch": dir, "mounts": [{"source", "target", "readOnly"}], "readOnlyRoot": bool, "cwd": path}. The machine's own root is the
image: an overlay keeps what the container writes away from it, so a Pod may mount `/etc/flags` or `/var/run/secrets/...` on a
machine that has no such folder, and `readOnlyRootFilesystem` is real. Standard library only: it starts once a container.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from pathlib import Path

CLONE_NEWNS = 0x00020000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    arguments = [text.encode() if text is not None else None for text in (source, target, kind)]
    _check(_libc.mount(*arguments, ctypes.c_ulong(flags), data.encode() if data else None), f"mount {source} at {target}")


def _other_mounts() -> list[str]:
    """Top mount points of the machine besides the root (an overlay of `/` shows none of them)."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = sorted({line.split()[4].replace("\\040", " ") for line in lines})
    chosen: list[str] = []
    for point in points:
        if point == "/" or point == "/run" or point.startswith("/run/") or any(point.startswith(f"{top}/") for top in chosen):
            continue
        chosen.append(point)
    return chosen


def _make_root(scratch: Path) -> Path:
    others = _other_mounts()
    _mount("none", str(scratch), "tmpfs", 0, "mode=755,size=256m")
    upper, work, root = scratch / "upper", scratch / "work", scratch / "root"
    for folder in (upper, work, root):
        folder.mkdir()
    _mount("overlay", str(root), "overlay", 0, f"lowerdir=/,upperdir={upper},workdir={work}")
    for point in others:
        inside = root / point.lstrip("/")
        if Path(point).is_dir() and inside.is_dir():
            _mount(point, str(inside), None, MS_BIND | MS_REC)
    return root


def _bind(root: Path, source: str, target: str, read_only: bool) -> None:
    inside = root / target.lstrip("/")
    if inside.exists():  # an absolute link (/var/run -> /run) must not lead out of the new root
        parts = Path(os.path.realpath(target)).parts[1:]
        inside = root.joinpath(*parts)
    else:
        parent = Path(os.path.realpath(str(Path(target).parent)))
        inside = root.joinpath(*parent.parts[1:]) / Path(target).name
    if Path(source).is_dir():
        inside.mkdir(parents=True, exist_ok=True)
    else:
        inside.parent.mkdir(parents=True, exist_ok=True)
        inside.touch()
    _mount(source, str(inside), None, MS_BIND | MS_REC)
    if read_only:
        _mount("none", str(inside), None, MS_BIND | MS_REMOUNT | MS_RDONLY)


def main() -> None:
    spec = json.loads(Path(sys.argv[1]).read_text())
    command = sys.argv[2:]
    _check(_libc.unshare(CLONE_NEWNS), "unshare")
    _mount("none", "/", None, MS_REC | MS_PRIVATE)
    root = _make_root(Path(spec["scratch"]))
    for mount in sorted(spec["mounts"], key=lambda one: len(one["target"])):
        _bind(root, mount["source"], mount["target"], mount["readOnly"])
    if spec["readOnlyRoot"]:
        _mount("none", str(root), None, MS_REMOUNT | MS_BIND | MS_RDONLY)
    os.chroot(root)
    os.chdir(spec["cwd"])
    os.execvpe(command[0], command, os.environ)


if __name__ == "__main__":
    main()
