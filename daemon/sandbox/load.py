"""Requests at a constant rate, as many users would send them.

The rate is kept open-loop: a slow answer delays no other request, so that a stall shows as failures and not as silence. Nothing is
ever retried, a share of requests opens a connection of its own, and the answers' headers say who served them.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Mapping

import aiohttp
import msgspec


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What one request met; `status` is 0 and `error` says why when no answer came."""

    version: str = ""
    track: str = ""
    flag: str = ""
    status: int = 0
    error: str = ""

    @property
    def failed(self) -> bool:
        return self.status == 0 or self.status >= 500


class LoadOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Where to send what, how often."""

    url: str
    host: str = ""
    rate: float = 60.0
    users: int = 500
    fresh_share: float = 0.25
    deadline: float = 10.0
    in_flight: int = 500
    seed: int = 1
    headers: Mapping[str, str] = {}


class Load:
    """Sends until cancelled and keeps count."""

    def __init__(self, options: LoadOptions) -> None:
        self._options = options
        self._random = random.Random(options.seed)
        self._in_flight = 0
        self.outcomes: Counter[Outcome] = Counter()
        self.spans: dict[str, tuple[int, int]] = {}  # version -> its first and last answer, counted over all answers
        self.sent = 0
        self.answered = 0
        self.skipped = 0

    def count(self, **wanted: object) -> int:
        """How many outcomes have these values: `count(track="canary", status=500)`, `count(failed=True)`."""
        return sum(n for outcome, n in self.outcomes.items() if all(getattr(outcome, k) == v for k, v in wanted.items()))

    async def run(self) -> None:
        kept = aiohttp.TCPConnector(limit=0, keepalive_timeout=30)
        fresh = aiohttp.TCPConnector(limit=0, force_close=True)
        timeout = aiohttp.ClientTimeout(total=self._options.deadline)
        async with (
            aiohttp.ClientSession(connector=kept, timeout=timeout) as keeping,
            aiohttp.ClientSession(connector=fresh, timeout=timeout) as opening,
            asyncio.TaskGroup() as group,
        ):
            await self._pace(group, keeping, opening)

    async def _pace(self, group: asyncio.TaskGroup, keeping: aiohttp.ClientSession, opening: aiohttp.ClientSession) -> None:
        clock = asyncio.get_running_loop().time
        due = clock()
        while True:
            await asyncio.sleep(max(0.0, due - clock()))
            due += 1 / self._options.rate
            if self._in_flight >= self._options.in_flight:
                self.skipped += 1  # said, not hidden: a generator that cannot keep up proves nothing
                continue
            session = opening if self._random.random() < self._options.fresh_share else keeping
            user = f"user-{self._random.randrange(self._options.users):04d}"
            self.sent += 1
            self._in_flight += 1
            group.create_task(self._one(session, user))

    async def _one(self, session: aiohttp.ClientSession, user: str) -> None:
        headers = {**self._options.headers, "X-User-Id": user}
        if self._options.host:
            headers["Host"] = self._options.host
        try:
            # A POST, since aiohttp sends an idempotent request again by itself when a kept connection turns out closed.
            async with session.post(self._options.url, headers=headers, allow_redirects=False) as response:
                await response.read()
                self._take(_outcome(response))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._take(Outcome(error=type(error).__name__))
        finally:
            self._in_flight -= 1

    def _take(self, outcome: Outcome) -> None:
        self.outcomes[outcome] += 1
        self.answered += 1
        first, _ = self.spans.get(outcome.version, (self.answered, 0))
        self.spans[outcome.version] = (first, self.answered)


def _outcome(response: aiohttp.ClientResponse) -> Outcome:
    found = response.headers
    return Outcome(
        version=found.get("X-Shop-Version", ""),
        track=found.get("X-Shop-Track", ""),
        flag=found.get("X-Shop-Flag", ""),
        status=response.status,
    )
