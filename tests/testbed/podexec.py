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
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE, MS_RELATIME = 1, 32, 4096, 16384, 1 << 18, 1 << 21
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    arguments = [text.encode() if text is not None else None for text in (source, target, kind)]
    _check(_libc.mount(*arguments, ctypes.c_ulong(flags), data.encode() if data else None), f"mount {source} at {target}")


def _mount_points() -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line.split()[4].replace("\\040", " ") for line in lines]


def _make_root(scratch: Path) -> tuple[Path, list[Path]]:
    """A root where each top folder is an overlay of the machine's, and what of it can be made read-only.

    One overlay for each folder and not one of `/`: in a user namespace (tests run by a plain user) a folder below which
    something else is mounted cannot be a lower layer. Those (`/dev`, `/proc`, `/sys`) are bound as they are; `/run` starts empty.
    """
    points = _mount_points()
    _mount("none", str(scratch), "tmpfs", 0, "mode=755,size=256m")
    root = scratch / "root"
    root.mkdir()
    guarded = [root]
    for entry in sorted(Path("/").iterdir()):
        inside = root / entry.name
        if entry.is_symlink():
            inside.symlink_to(entry.readlink())
        elif entry.is_dir():
            inside.mkdir()
            if str(entry) == "/run":
                continue
            if any(point == str(entry) or point.startswith(f"{entry}/") for point in points):
                _mount(str(entry), str(inside), None, MS_BIND | MS_REC)
                continue
            upper, work = scratch / f"upper.{entry.name}", scratch / f"work.{entry.name}"
            upper.mkdir()
            upper.chmod(entry.stat().st_mode & 0o7777)
            work.mkdir()
            _mount("overlay", str(inside), "overlay", 0, f"lowerdir={entry},upperdir={upper},workdir={work}")
            guarded.append(inside)
    _mount(str(root), str(root), None, MS_BIND | MS_REC)  # a mount of its own, so that it can be read-only
    return root, guarded


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
        _mount("none", str(inside), None, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_RELATIME)


def main() -> None:
    spec = json.loads(Path(sys.argv[1]).read_text())
    command = sys.argv[2:]
    _check(_libc.unshare(CLONE_NEWNS), "unshare")
    _mount("none", "/", None, MS_REC | MS_PRIVATE)
    root, guarded = _make_root(Path(spec["scratch"]))
    for mount in sorted(spec["mounts"], key=lambda one: len(one["target"])):
        _bind(root, mount["source"], mount["target"], mount["readOnly"])
    for program in (str(Path(__file__).resolve().parents[2]), sys.prefix, sys.base_prefix):
        # A volume at /tmp must not hide the "image": the checkout and its interpreter, wherever they are.
        if any(program.startswith(f"{mount['target'].rstrip('/')}/") for mount in spec["mounts"]):
            _bind(root, program, program, read_only=False)
    if spec["readOnlyRoot"]:
        volumes = {root / mount["target"].strip("/") for mount in spec["mounts"]}
        for folder in guarded:
            if folder in volumes:  # covered by a volume, whose own rule it follows (an emptyDir at /tmp is writable)
                continue
            _mount("none", str(folder), None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_RELATIME)
    os.chroot(root)
    os.chdir(spec["cwd"])
    os.execvpe(command[0], command, os.environ)


if __name__ == "__main__":
    main()
