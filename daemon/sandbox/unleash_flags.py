"""The demo shop's flag asked from an Unleash, by Unleash's own SDK as an app would use it: polled in the background, evaluated in memory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from flags.unleash_memory import Memory

REFRESH: Final = 1  # seconds; an app would take 15


class UnleashFlags:
    """One flag of one server; off until the SDK has heard of it."""

    def __init__(self, url: str, token: str, key: str) -> None:
        self._url, self._token, self._key = url, token, key
        self._client: Any = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The SDK polls while the block runs."""
        from UnleashClient.clients.async_unleash_client import AsyncUnleashClient

        sdk: Any = AsyncUnleashClient  # its cache is asked for by class, and used by its methods alone
        client = sdk(
            url=f"{self._url.rstrip('/')}/api",
            app_name="shop",
            refresh_interval=REFRESH,
            metrics_interval=REFRESH,
            request_timeout=2,
            custom_headers={"Authorization": self._token},
            cache=Memory(),
        )
        async with client as self._client:
            yield

    def on(self, user: str, track: str) -> bool:
        if self._client is None:
            return False
        return bool(self._client.is_enabled(self._key, {"userId": user, "properties": {"track": track}}))
