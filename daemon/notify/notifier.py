"""Where a rollout hands its messages over and goes on at once.

Every Notifier has a lane: a bounded queue and, while there is something in it, one task. A lane whose server hangs fills up and drops
its oldest; the other lanes and the caller do not notice. What happened to each message is told to one callback, for metrics,
conditions and logs.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from typing import Literal

import msgspec

from daemon.notify.delivery import TIMEOUT, Courier
from daemon.notify.errors import NotifyError
from daemon.notify.message import Message
from daemon.notify.targets import Target

Fate = Literal["Delivered", "Failed", "Dropped", "Collapsed"]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a message. `problem` is fit to be shown: it never holds an address."""

    route: str
    message: Message
    fate: Fate
    attempts: int = 0
    problem: str = ""


class NotifierOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds. Waits between attempts are `backoff`, then four times as long each, with jitter."""

    queue: int = 64
    timeout: float = TIMEOUT
    attempts: int = 3
    backoff: float = 2.0


class _Lane:
    def __init__(self, route: str, target: Target, options: NotifierOptions) -> None:
        self.route = route
        self.waiting: deque[Message] = deque()
        self.busy = False
        self.target = target
        self.courier = Courier(target, options.timeout)

    def readdress(self, target: Target, options: NotifierOptions) -> None:
        """A changed Secret is used from the next message on."""
        if target != self.target:
            self.target, self.courier = target, Courier(target, options.timeout)


class Notifier:
    """Owns the lanes. `run` belongs into a TaskGroup; `offer` never waits."""

    def __init__(self, on_outcome: Callable[[Outcome], None], options: NotifierOptions | None = None) -> None:
        self._on_outcome = on_outcome
        self._options = options or NotifierOptions()
        self._lanes: dict[str, _Lane] = {}
        self._wake = asyncio.Event()
        self._quiet = asyncio.Event()
        self._quiet.set()

    @property
    def lanes(self) -> int:
        """How many Notifiers have messages waiting or under way."""
        return len(self._lanes)

    def offer(self, route: str, target: Target, message: Message) -> None:
        """Queue a message and return. A full lane drops its oldest; a step overtakes the waiting step of the same rollout."""
        lane = self._lanes.get(route)
        if lane is None:
            lane = self._lanes[route] = _Lane(route, target, self._options)
        lane.readdress(target, self._options)
        last = lane.waiting[-1] if lane.waiting else None
        if last is not None and last.kind == message.kind == "Step" and last.subject() == message.subject():
            self._tell(lane, lane.waiting.pop(), "Collapsed")
        elif len(lane.waiting) >= self._options.queue:
            self._tell(lane, lane.waiting.popleft(), "Dropped", problem=f"{self._options.queue} messages were waiting already")
        lane.waiting.append(message)
        self._quiet.clear()
        self._wake.set()

    async def run(self) -> None:
        """Deliver until cancelled. A lane has a task only while it has messages."""
        async with asyncio.TaskGroup() as group:
            while True:
                await self._wake.wait()
                self._wake.clear()
                for lane in list(self._lanes.values()):
                    if lane.waiting and not lane.busy:
                        lane.busy = True
                        group.create_task(self._serve(lane), name=f"notify {lane.route}")

    async def drain(self, timeout: float) -> bool:  # noqa: ASYNC109 - the bound is the point of the call
        """Wait until nothing is queued, at most so long: a rollback's message should leave before the process does.

        What is then still waiting is given up, and told as dropped.
        """
        try:
            async with asyncio.timeout(timeout):
                await self._quiet.wait()
        except TimeoutError:
            for lane in self._lanes.values():
                while lane.waiting:
                    self._tell(lane, lane.waiting.popleft(), "Dropped", problem="the process ends")
            return False
        return True

    async def _serve(self, lane: _Lane) -> None:
        try:
            while lane.waiting:
                message = lane.waiting.popleft()
                await self._deliver(lane, message)
        finally:
            lane.busy = False
            # Lanes without work are forgotten, so that deleted Notifiers leave nothing behind; a hanging call keeps its lane.
            if not lane.waiting and not lane.courier.hanging:
                self._lanes.pop(lane.route, None)
            if not any(lane.busy or lane.waiting for lane in self._lanes.values()):
                self._quiet.set()

    async def _deliver(self, lane: _Lane, message: Message) -> None:
        for attempt in range(1, self._options.attempts + 1):
            try:
                await lane.courier.deliver(message)
            except NotifyError as problem:
                if not problem.retryable or attempt == self._options.attempts:
                    self._tell(lane, message, "Failed", attempt, str(problem))
                    return
            else:
                self._tell(lane, message, "Delivered", attempt)
                return
            await asyncio.sleep(self._options.backoff * 4 ** (attempt - 1) * random.uniform(0.5, 1.5))

    def _tell(self, lane: _Lane, message: Message, fate: Fate, attempts: int = 0, problem: str = "") -> None:
        self._on_outcome(Outcome(route=lane.route, message=message, fate=fate, attempts=attempts, problem=problem))


async def send_once(target: Target, message: Message, timeout: float = TIMEOUT) -> None:  # noqa: ASYNC109 - passed on to the courier
    """One message, one attempt, the result as an exception: what `linnet notify test` shows."""
    await Courier(target, timeout).deliver(message)
