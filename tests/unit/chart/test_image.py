"""The Containerfile without a container engine: its steps are read from the file and run in a clean root folder.

The one step that downloads is replaced: what the image's lock names is linked from this very environment, which `make venv` filled
from the same hashes. So a module that the lock forgets, a step that cannot run and an entry point that does not start all show here.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[3]
LOCKED = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)(?P<marker>\s*;[^\\\n]*)?", re.MULTILINE)
Key = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Step:
    verb: str
    text: str


def steps() -> list[Step]:
    """The instructions of the Containerfile, continuation lines joined."""
    joined = re.sub(r"\\\n\s*", " ", (ROOT / "Containerfile").read_text())
    lines = [line for line in joined.splitlines() if line and not line.startswith("#")]
    return [Step(verb=line.split(maxsplit=1)[0], text=line.split(maxsplit=1)[1]) for line in lines]


def lock(name: str) -> dict[Key, frozenset[str]]:
    """Name and version -> hashes."""
    found: dict[Key, frozenset[str]] = {}
    text = (ROOT / name).read_text()
    starts = [*LOCKED.finditer(text)]
    for match, end in zip(starts, [*(m.start() for m in starts[1:]), len(text)], strict=True):
        found[match["name"], match["version"]] = frozenset(re.findall(r"sha256:[0-9a-f]{64}", text[match.start() : end]))
    return found


def locked_here() -> set[str]:
    """Names in the image's lock whose marker holds for this Python."""
    text = (ROOT / "requirements-image.lock").read_text()
    wanted = [Requirement(match.group(0).strip()) for match in LOCKED.finditer(text)]
    return {requirement.name for requirement in wanted if requirement.marker is None or requirement.marker.evaluate()}


def test_the_image_s_lock_is_a_part_of_the_lock() -> None:
    """What runs is what was tested: the same versions with the same hashes, and no package index named."""
    whole, part = lock("requirements.lock"), lock("requirements-image.lock")
    assert part
    assert {key: hashes for key, hashes in part.items() if whole.get(key) != hashes} == {}
    assert all(part.values())
    assert "://" not in (ROOT / "requirements-image.lock").read_text()


def test_the_image_s_lock_has_everything_the_project_needs() -> None:
    """Each dependency in pyproject.toml, and theirs, is locked; nothing for tests or the demo is."""
    pending = [(Requirement(line), "") for line in importlib.metadata.requires("linnet") or () if "extra ==" not in line]
    seen: set[tuple[str, str]] = set()
    while pending:
        requirement, extra = pending.pop()
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        for asked in {"", *requirement.extras}:
            if (name, asked) not in seen:
                seen.add((name, asked))
                pending += [(Requirement(line), asked) for line in importlib.metadata.requires(name) or ()]
    needed = {name for name, _ in seen}
    assert needed == locked_here()


def test_the_image_runs_as_nobody_from_hashed_packages() -> None:
    """No step installs without hashes, two stages, a numeric non-root user, and nothing but the virtual environment is taken over."""
    found = steps()
    assert [step.verb for step in found].count("FROM") == 2
    installs = [step.text for step in found if step.verb == "RUN" and " install " in step.text]
    assert installs
    assert all("--require-hashes" in text and "--no-deps" in text for text in installs)
    assert [step.text for step in found if step.verb == "USER"] == ["65532:65532"]
    assert not any(step.verb == "ADD" or "curl" in step.text or "apt-get" in step.text for step in found)


def test_only_what_is_copied_is_sent_to_the_engine() -> None:
    """The ignore file lets through exactly what COPY names, so that no key or cache of a checkout can end in a layer."""
    copied = {step.text.split()[0] for step in steps() if step.verb == "COPY" and not step.text.startswith("--from")}
    lines = (ROOT / ".containerignore").read_text().splitlines()
    assert {line.removeprefix("!") for line in lines if line.startswith("!")} == copied
    assert "*" in lines


def _link_locked(target: Path) -> None:
    """Stands in for the hashed pip install: the same distributions, linked from the environment of the tests."""
    for name in sorted(locked_here()):
        for file in importlib.metadata.distribution(name).files or ():
            if ".." in file.parts or "__pycache__" in file.parts:
                continue
            source, place = Path(str(file.locate())), target / file
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(source, place)
            except OSError:
                shutil.copy2(source, place)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root folder in which every COPY and RUN of the build stage was executed; /opt and /src lie in it."""
    root = tmp_path_factory.mktemp("image")
    (root / "src").mkdir()
    (root / "opt").mkdir()
    env = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    purelib = root / "opt" / "linnet" / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    stage = 0
    for step in steps():
        stage += step.verb == "FROM"
        if stage != 1:
            continue
        if step.verb == "COPY":
            source, target = step.text.split()
            place = root / "src" / target
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(ROOT / source, place)
        elif step.verb == "RUN" and "--require-hashes" in step.text:
            assert shlex.split(step.text)[-1] == "requirements-image.lock"
            _link_locked(purelib)
        elif step.verb == "RUN":
            command = step.text.replace("/opt/linnet", str(root / "opt" / "linnet"))
            done = subprocess.run(
                ["/bin/sh", "-ec", command], cwd=root / "src", env=env, capture_output=True, text=True, timeout=300, check=False
            )
            assert done.returncode == 0, f"{step.text}\n{done.stdout}{done.stderr}"
    return root


def _python(image: Path, code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(image / "opt/linnet/bin/python"), "-I", "-c", code], cwd="/", env={}, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.cluster
@pytest.mark.timeout(400)
def test_the_steps_leave_an_environment_that_imports_linnet_alone(image: Path) -> None:
    """The three packages come from the image, the tests' tools and pip are not in it, and it all works away from the checkout."""
    done = _python(image, "import analyzers, daemon, flags; print(daemon.__file__)")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(image))
    for absent in ("pytest", "hypothesis", "pip", "celpy", "tests"):
        assert _python(image, f"import {absent}").returncode != 0, absent


@pytest.mark.cluster
@pytest.mark.timeout(400)
def test_every_module_of_the_daemon_can_be_imported_in_the_image(image: Path) -> None:
    """No module but the sandbox, which is for a developer's machine, needs what the image does not have."""
    code = (
        "import importlib, pkgutil, analyzers, daemon, flags\n"
        "for package in (analyzers, daemon, flags):\n"
        "    for found in pkgutil.walk_packages(package.__path__, package.__name__ + '.', onerror=lambda name: None):\n"
        "        if not found.name.startswith(('daemon.sandbox', 'daemon.cli.demo', 'daemon.cli.sandbox')):\n"
        "            importlib.import_module(found.name)\n"
    )
    done = _python(image, code)
    assert done.returncode == 0, done.stderr


@pytest.mark.cluster
@pytest.mark.timeout(400)
@pytest.mark.skipif(not (ROOT / "daemon" / "cli" / "main.py").exists(), reason="there is no command line yet")
def test_the_entry_point_starts(image: Path) -> None:
    """What the chart's pods execute prints its help: the script is executable, and its first line finds the image's Python."""
    [entry] = [step.text for step in steps() if step.verb == "ENTRYPOINT"]
    script = image / entry.strip('[]"').removeprefix("/")
    done = subprocess.run(
        [str(script), "--help"], cwd="/", env={"HOME": "/nonexistent"}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "run" in done.stdout


def test_the_folder_names_of_a_virtual_environment_are_what_the_fixture_assumes() -> None:
    """The stand-in for pip writes where a virtual environment looks for packages."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    assert Path(sysconfig.get_path("purelib")).parts[-3:] == ("lib", version, "site-packages")
