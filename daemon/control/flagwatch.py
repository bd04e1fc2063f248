"""Which flags must be read again: a source that can tell is asked once an interval, however many Canaries watch how many of its flags.

A reading of a flag is believed until its source says that the flag changed. Whoever reads takes the position first: what changes between
the two is then read once too often, and never missed.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from daemon.control import objects as ours
from daemon.kube.store import Key
from flags.errors import FlagError
from flags.model import Changes

AGAIN: Final = 2.0  # seconds until a source that did not answer is asked again
Ask = Callable[[str], Awaitable[Changes]]


class _Feed:
    """What is known of one source, as it is written now."""

    def __init__(self, spec: object) -> None:
        self.spec = spec
        self.lock = asyncio.Lock()
        self.asked: float | None = None
        self.problem: FlagError | None = None  # of the last question
        self.cursor = ""
        self.position = 1
        self.everything = 1  # the position at which all flags may have changed
        self.flags: dict[str, int] = {}
        self.mute = False  # the source cannot tell

    def note(self, found: Changes) -> None:
        self.cursor = found.cursor
        if not found.flags and not found.everything:
            return
        self.position += 1
        if found.everything:
            self.everything, self.flags = self.position, {}
        self.flags.update(dict.fromkeys(found.flags, self.position))


class FlagWatch:
    """The feeds of all sources."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._feeds: dict[Key, _Feed] = {}

    async def position(self, source: ours.FlagSource, ask: Ask | None, interval: float) -> int | None:
        """Where its changes stand, asked anew once an interval; None where the source cannot tell. FlagError where it does not answer."""
        feed = self._feed(source)
        if ask is None:
            return None
        async with feed.lock:
            now = self._clock()
            if feed.asked is None or now - feed.asked >= interval:
                try:
                    found = await ask(feed.cursor)
                except FlagError as problem:
                    if problem.retryable:
                        feed.asked, feed.problem = now - interval + min(interval, AGAIN), problem
                        raise
                    feed.mute = True  # its token may not read that, or there is no such thing: flags are read one by one
                else:
                    feed.mute = False
                    feed.note(found)
                feed.asked, feed.problem = now, None
            elif feed.problem is not None:
                raise feed.problem
        return None if feed.mute else feed.position

    def changed(self, source: ours.FlagSource, key: str, since: int) -> bool:
        """Whether the flag may be another than at that position."""
        feed = self._feed(source)
        return max(feed.everything, feed.flags.get(key, 0)) > since

    def _feed(self, source: ours.FlagSource) -> _Feed:
        feed = self._feeds.get(source.key)
        if feed is None or feed.spec != source.spec:
            # Positions of another feed mean nothing here: start above them.
            start = 0 if feed is None else feed.position
            feed = self._feeds[source.key] = _Feed(source.spec)
            feed.position = feed.everything = start + 1
        return feed
