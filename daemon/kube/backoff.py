"""One way to wait longer each time, shared by the transport, the reflector, the queue and the elector.

Jitter matters more than the curve: a fleet that lost the same API server must not come back in the same instant. The random source
is handed in, so a test can fix it.
"""

import random
from collections.abc import Callable

import msgspec

Rng = Callable[[], float]


class Backoff(msgspec.Struct, frozen=True, kw_only=True):
    """Exponential delays from `first` to `limit` seconds, each spread by up to `jitter` of itself."""

    first: float = 0.8
    limit: float = 30.0
    factor: float = 2.0
    jitter: float = 0.5

    def delay(self, failures: int, rng: Rng = random.random) -> float:
        """Seconds to wait after that many failures in a row (1 is the first). Never more than `limit`, never less than half of `first`."""
        if failures <= 0:
            return 0.0
        # The exponent is bounded, since 2.0 ** 1100 overflows after a long night of failures.
        base = min(self.limit, self.first * self.factor ** min(failures - 1, 64))
        return base * (1.0 - self.jitter * rng())
