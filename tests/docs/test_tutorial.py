"""The tutorial, typed as it stands: its blocks run in order in one shell's environment, beside the demo that stays."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, Block, blocks
from tests.testbed import build

pytestmark = pytest.mark.demo

PAGE = ROOT / "docs" / "tutorial" / "first-release.md"
PLAYED = 200.0  # seconds for the two releases that the demo plays
TYPED = 280.0  # seconds for one block: it may contain a whole release


def shell_blocks(role: str) -> list[Block]:
    return [b for b in blocks(PAGE) if b.language == "sh" and b.role == role]


class Terminal:
    """A command in the foreground of a terminal of its own, and what it has printed so far."""

    def __init__(self, command: str, env: dict[str, str]) -> None:
        self.text = ""
        self._more = threading.Condition()
        self._popen = subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            cwd=ROOT,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._popen.stdout is not None
        for line in self._popen.stdout:
            with self._more:
                self.text += line
                self._more.notify_all()
        with self._more:
            self._more.notify_all()

    def await_text(self, pattern: str, seconds: float) -> re.Match[str]:
        """What the pattern finds, once it is printed."""
        with self._more:
            self._more.wait_for(lambda: re.search(pattern, self.text) or self._popen.poll() is not None, seconds)
            found = re.search(pattern, self.text)
        assert found, f"nothing like {pattern!r} was printed:\n{self.text[-4000:]}"
        return found

    def interrupt(self) -> int:
        """Ctrl-C, and the exit code."""
        if self._popen.poll() is None:
            os.killpg(self._popen.pid, signal.SIGINT)
        try:
            return self._popen.wait(30)
        finally:
            if self._popen.poll() is None:
                os.killpg(self._popen.pid, signal.SIGKILL)
            self._reader.join(5)
            if self._popen.stdout is not None:
                self._popen.stdout.close()


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A clean home, this interpreter's programs first, and a kubectl."""
    if build.missing({"kubectl"}):
        pytest.skip("kubectl is not built: run `python -m tests.testbed.build`")
    path = f"{Path(sys.executable).parent}:{build.bin_dir()}:{os.environ['PATH']}"
    return {**os.environ, "HOME": str(tmp_path), "PATH": path, "NO_COLOR": "1", "COLUMNS": "200"}


@pytest.fixture
def demo(environment: dict[str, str]) -> Iterator[Terminal]:
    """Terminal 1 of the tutorial."""
    [block] = shell_blocks("terminal")
    terminal = Terminal(block.body.strip().replace(".venv/bin/", ""), environment)
    yield terminal
    terminal.interrupt()


@pytest.mark.timeout(900)
def test_the_tutorial_works_as_it_is_written(demo: Terminal, environment: dict[str, str]) -> None:
    """Every block succeeds, or fails where the page says so, and the last release ends promoted."""
    environment["KUBECONFIG"] = demo.await_text(r"KUBECONFIG=(\S+)", PLAYED)[1].strip("'\"")
    said = ""
    for block in (b for b in blocks(PAGE) if b.language == "sh" and b.role in ("", "fails")):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block.body],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=TYPED,
            check=False,
        )
        said += f"{block.body}{done.stdout}{done.stderr}\n"
        assert (done.returncode != 0) == (block.role == "fails"), said[-6000:]
    assert re.search(r"shop \w+ promoted after", said), said
    assert re.search(r"shop \w+ rolled back after .*stopped by", said), said
    assert "held by Linnet" in said
    assert demo.interrupt() in (0, 130)


def test_the_page_has_all_its_blocks() -> None:
    """A block that was given another role would be tested by nothing."""
    roles = [b.role for b in blocks(PAGE) if b.language == "sh"]
    assert set(roles) == {"", "once", "terminal", "fails"}
    assert len([r for r in roles if not r]) >= 8
