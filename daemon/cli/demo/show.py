"""How the play is shown: nothing for a script, lines for a pipe, a live view for a terminal."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from daemon.cli.demo import narration
from daemon.cli.demo.narration import Line, Narrator
from daemon.cli.demo.play import Play


class Show(Protocol):
    """Told of every change; each call must return at once."""

    def __call__(self, play: Play) -> None: ...

    def opened(self, play: Play) -> None:
        """The stage is set."""

    def kept(self, play: Play) -> None:
        """Both releases are over and everything runs on."""

    def over(self, play: Play) -> None:
        """Nothing more will change."""


class Silent:
    """For `--json`."""

    def __call__(self, play: Play) -> None:
        """Nothing is said."""

    opened = kept = over = __call__


class Lines:
    """For a pipe or a file: one line for each thing that happened, with the seconds since the stage was set."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._narrator = Narrator()

    def __call__(self, play: Play) -> None:
        seconds = time.monotonic() - play.started
        for line in self._narrator.look(play):
            self._write(f"{seconds:6.1f} s  {_worded(line)}\n")
        for post in self._narrator.letters(play):
            if narration.decisive(post):
                heading, text = narration.letter(post)
                self._write(f"{seconds:6.1f} s  {heading}: {' / '.join(text.splitlines())}\n")

    def opened(self, play: Play) -> None:
        self._print(narration.opening(play))

    def kept(self, play: Play) -> None:
        self._print(narration.closing(play))
        self._print(narration.keeping(play))

    def over(self, play: Play) -> None:
        self._print(narration.closing(play))

    def _print(self, lines: list[Line]) -> None:
        for line in lines:
            self._write(f"{_worded(line)}\n")


def _worded(line: Line) -> str:
    return f"$ {line.text}" if line.style == "command" else line.text


def _write_out(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


@contextlib.contextmanager
def audience(*, quiet: bool) -> Iterator[Show]:
    """The show while the block runs."""
    if quiet:
        yield Silent()
    elif not sys.stdout.isatty():
        yield Lines(_write_out)
    else:
        from daemon.cli.demo.view import LiveView

        with LiveView.on_terminal() as view:
            yield view
