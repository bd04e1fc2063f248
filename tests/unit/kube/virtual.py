"""An event loop whose clock jumps over waiting, so that minutes of back-off and lease time cost milliseconds.

Real sockets on loopback work on it: when nothing is due, the selector is asked once more with a short real wait, and only if the
sockets are silent too does the clock move to the next timer.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_GRACE = 0.002  # real seconds given to the kernel to hand loopback bytes over


class _Selector(selectors.DefaultSelector):
    def __init__(self, loop: "VirtualLoop") -> None:
        super().__init__()
        self.loop = loop

    def select(self, timeout: float | None = None) -> Any:
        found = super().select(0)
        if found or timeout == 0:
            return found
        if timeout is None:
            return super().select(1.0)
        found = super().select(_GRACE)
        if not found:
            self.loop.offset += timeout
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.offset = 0.0
        super().__init__(_Selector(self))

    def time(self) -> float:
        """Real time stands still here: only waiting moves the clock."""
        return 1000.0 + self.offset


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a loop with a clock of its own."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
