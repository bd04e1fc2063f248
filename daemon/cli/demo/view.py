"""The live view for a terminal: what happened scrolls by above, what is true now stands below."""

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.rule import Rule
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from daemon.cli.demo import narration
from daemon.cli.demo.narration import Line, Narrator, Style
from daemon.cli.demo.play import Play
from daemon.rollout.sentence import count, percent

STYLES: dict[Style, str] = {"plain": "", "command": "cyan", "good": "bold green", "bad": "bold red", "head": "bold", "quiet": "dim"}
PER_SECOND = 4
ROWS = 6  # lines of the table, so that the view never outgrows a small terminal


class LiveView:
    """Prints each line once, and keeps the present below."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._narrator = Narrator()
        self._play: Play | None = None
        self._last = ""
        self._live = Live(self, console=console, refresh_per_second=PER_SECOND, transient=True, vertical_overflow="crop")

    @classmethod
    @contextlib.contextmanager
    def on_terminal(cls) -> Iterator["LiveView"]:
        """On standard output; the cursor is given back however the block ends."""
        view = cls(Console(highlight=False))
        with view._live:
            yield view

    def __call__(self, play: Play) -> None:
        for line in self._narrator.look(play):
            self._say(line, seconds=time.monotonic() - play.started)
        for post in self._narrator.letters(play):
            heading, text = narration.letter(post)
            self._last = f"{post.kind}: {text.splitlines()[0]}" if text else self._last
            if narration.decisive(post):
                self.console.print(Panel(Text(text), title=heading, title_align="left", border_style="blue", padding=(0, 1)))

    def opened(self, play: Play) -> None:
        self._play = play
        self._print(narration.opening(play))

    def kept(self, play: Play) -> None:
        self._print(narration.closing(play))
        self._print(narration.keeping(play))

    def over(self, play: Play) -> None:
        self._live.stop()
        self._print(narration.closing(play))

    def _print(self, lines: list[Line]) -> None:
        for line in lines:
            self._say(line)

    def _say(self, line: Line, seconds: float | None = None) -> None:
        if line.style == "head":
            self.console.print()
        row = Table.grid(padding=(0, 1))
        row.add_column(width=7, justify="right", style="dim")
        row.add_column(overflow="fold")
        text = f"$ {line.text}" if line.style == "command" else line.text
        words = Text(text, style=STYLES[line.style], overflow="fold")
        if seconds is None:
            self.console.print(words)
            return
        row.add_row(f"{seconds:.1f} s", words)
        self.console.print(row)

    # The present.

    def __rich__(self) -> RenderableType:
        play = self._play
        if play is None:
            return Spinner("dots", text="starting an API server, controllers, Traefik and the daemon")
        if play.scene.release is None and not play.scene.results:
            return Spinner("dots", text="the shop starts, and Linnet records what is stable")
        return Group(Rule(style="dim"), self._present(play), self._table(play), self._footer(play))

    def _present(self, play: Play) -> RenderableType:
        scene, grid = play.scene, Table.grid(padding=(0, 2))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(width=24, no_wrap=True)
        grid.add_column(overflow="ellipsis", no_wrap=True)
        grid.add_row("traffic", _bar(scene.weight, "yellow"), f"{scene.weight} % of requests to the canary")
        for flag in scene.status.flags:
            written = flag.written or 0
            grid.add_row("flag", _bar(written, "magenta"), f"{written} % {flag.key}")
        return grid

    def _table(self, play: Play) -> RenderableType:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for name in ("version", "track", "flag"):
            table.add_column(name)
        for name in ("requests", "failed", ""):
            table.add_column(name, justify="right")
        for row in play.rows[:ROWS]:
            style = "red" if row.failed else ""
            shown = (row.version or "no answer", row.track, row.flag, count(row.requests), count(row.failed))
            table.add_row(*shown, percent(row.failed, row.requests), style=style)
        return table

    def _footer(self, play: Play) -> RenderableType:
        status = play.scene.status
        waiting = status.waiting
        lines = [Text(f"{status.phase} {status.step or ''}{': ' + waiting.message if waiting else ''}", overflow="ellipsis", no_wrap=True)]
        if self._last:
            lines.append(Text(self._last, style="blue", overflow="ellipsis", no_wrap=True))
        return Group(*lines)


def _bar(value: int, style: str) -> ProgressBar:
    return ProgressBar(total=100, completed=value, width=24, complete_style=style, finished_style=style)
