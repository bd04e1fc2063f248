"""The directories behind a pod's volumes.

A projected volume changes all at once: files are written beside the old ones and one symbolic link is swapped, as a kubelet does, so
that a reader never sees half of a ConfigMap. What differs from a kubelet is the moment: the change is there at once, not after a minute.
"""

import itertools
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

_versions = itertools.count(1)


class Volume:
    """One directory, plain or projected."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._content: dict[str, bytes] | None = None

    def project(self, files: Mapping[str, bytes]) -> bool:
        """Make these the volume's files; says whether anything changed."""
        if self._content == dict(files):
            return False
        data = self.directory / "..data"
        former = data.resolve() if data.is_symlink() else None
        fresh = self.directory / f"..{next(_versions):08d}"
        for name, content in files.items():
            target = fresh / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        fresh.mkdir(exist_ok=True)
        swap = self.directory / "..data_tmp"
        swap.symlink_to(fresh.name)
        os.replace(swap, data)  # noqa: PTH105 - os.replace says that it is atomic
        self._link({Path(name).parts[0] for name in files})
        if former is not None:
            shutil.rmtree(former, ignore_errors=True)
        self._content = dict(files)
        return True

    def _link(self, names: set[str]) -> None:
        for entry in self.directory.iterdir():
            if not entry.name.startswith("..") and entry.name not in names:
                entry.unlink()
        for name in names:
            link = self.directory / name
            if not link.is_symlink():
                link.symlink_to(Path("..data") / name)
