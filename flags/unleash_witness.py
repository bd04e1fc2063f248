"""The witness: Unleash's own SDK, asking what any app would be told.

The Admin API's 200 says that the database has it. Whether apps have it is another matter: the server recomputes what SDKs get once a
second, proxies cache, and a strategy may evaluate otherwise than it reads. So a change counts as seen when the SDK's payload has our mark
with the new percent, and ids of our own choosing are let in exactly as the bucket rule says.

The SDK is imported when the first flag is watched: it costs most of a second. Its metrics are off, for our probes would count as users.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from flags.buckets import bucket
from flags.errors import Retryable
from flags.model import EVERYONE, Desired
from flags.unleash_admin import UnleashSource
from flags.unleash_memory import Memory
from flags.unleash_rules import Arm, sticky_field
from flags.unleash_view import WORD

if TYPE_CHECKING:
    import aiohttp
    from UnleashClient.clients.async_unleash_client import AsyncUnleashClient

PROBES: Final = tuple(f"linnet-probe-{number}" for number in range(200))
REFRESH: Final = 1  # seconds between two looks of the SDK
IDLE: Final = 60.0  # seconds after which an SDK that nobody asks is closed
START: Final = 3.0
_FEATURES: Final = "/client/features"
Context = dict[str, Any]


class Sight(msgspec.Struct, frozen=True):
    """What the SDK has of one flag: its strategies as it got them, and its own evaluation."""

    enabled: bool
    strategies: list[dict[str, Any]]
    evaluate: Callable[[Context], bool]


class Witnesses:
    """One SDK for each Unleash and client token, started by the first question and closed when idle; `run` owns them.

    `session` makes the connections to an Unleash: through which proxy, and trusting whom. Without it the SDK makes its own.
    """

    def __init__(
        self, session: "Callable[[str], aiohttp.ClientSession] | None" = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._session = session
        self._clock = clock
        self._open: dict[tuple[str, str], _Sdk] = {}
        self._starting = asyncio.Lock()

    async def run(self) -> None:
        """Closes what is idle, and everything at its end."""
        try:
            while True:
                await asyncio.sleep(IDLE / 4)
                for key, sdk in list(self._open.items()):
                    if self._clock() - sdk.asked > IDLE:
                        del self._open[key]
                        await sdk.close()
        finally:
            await self.close()

    async def close(self) -> None:
        while self._open:
            _, sdk = self._open.popitem()
            await sdk.close()

    async def doubt(self, source: UnleashSource, flag: str, desired: Desired, wanted: Mapping[str, Arm]) -> str:
        """Why apps cannot be taken to have what was written; empty where they can."""
        sdk = await self._sdk(source)
        return doubt(sdk.sight(flag), flag, desired, wanted)

    async def _sdk(self, source: UnleashSource) -> "_Sdk":
        assert source.client_token is not None
        key = (source.base, source.client_token)
        async with self._starting:
            if key not in self._open:
                self._open[key] = await _Sdk.start(source.base, source.client_token, self._session)
        sdk = self._open[key]
        sdk.asked = self._clock()
        return sdk


def doubt(sight: Sight | None, flag: str, desired: Desired, wanted: Mapping[str, Arm]) -> str:
    """Payload first, then the probes. Pure, but for what `evaluate` asks of the SDK."""
    if sight is None:
        return f"the SDK has no flag {flag} yet"
    if not sight.enabled:
        return f"the SDK has flag {flag} switched off"
    marks = {s.get("parameters", {}).get(WORD): s.get("parameters", {}).get("rollout") for s in sight.strategies}
    for arm in wanted.values():
        mark = arm.parameters[WORD]
        if marks.get(mark) != arm.parameters["rollout"]:
            return f"the SDK does not have flag {flag} at {arm.percent} % for {arm.role} yet"
    ours = {arm.parameters[WORD] for arm in wanted.values()}
    alone = all(s.get("parameters", {}).get(WORD) in ours or _closed(s) for s in sight.strategies)
    wrong = sum(1 for context, expected in probes(desired, wanted) if _disagrees(sight, context, expected=expected, alone=alone))
    return f"{wrong} of the probe ids evaluate flag {flag} otherwise than the bucket rule" if wrong else ""


def _closed(strategy: dict[str, Any]) -> bool:
    return bool(strategy.get("parameters", {}).get("rollout") == "0")


def _disagrees(sight: Sight, context: Context, *, expected: bool, alone: bool) -> bool:
    """Beside strategies of others, somebody whom we leave out may be in all the same."""
    found: bool = sight.evaluate(context)
    return found != expected and (expected or alone)


def probes(desired: Desired, wanted: Mapping[str, Arm]) -> Iterable[tuple[Context, bool]]:
    """Contexts, and whether the flag is on for each: everyone's share on both sides of the gate."""
    field = sticky_field(desired)
    if field == "random":
        return
    everyone = wanted[EVERYONE]
    group = everyone.parameters["groupId"]
    gate = desired.gate
    inside = {gate.attribute: gate.value} if gate else {}
    for probe in PROBES:
        yield _context(field, probe, inside), 0 < bucket(group, probe) <= everyone.percent
    if gate and not desired.cohorts:
        for probe in PROBES[:20]:
            yield _context(field, probe, {gate.attribute: f"not-{gate.value}"}), False


def _context(field: str, probe: str, properties: Mapping[str, str]) -> Context:
    if field in ("userId", "sessionId"):
        return {field: probe, "properties": dict(properties)}
    if field == "default":
        return {"userId": probe, "properties": dict(properties)}
    return {"properties": {**properties, field: probe}}


class _Sdk:
    """A running AsyncUnleashClient; its polling belongs to it and ends with `close`."""

    def __init__(self, client: "AsyncUnleashClient", memory: Memory) -> None:
        self._client = client
        self._memory = memory
        self._decoded: tuple[str, dict[str, dict[str, Any]]] = ("", {})
        self.asked = 0.0

    @classmethod
    async def start(cls, url: str, token: str, session: "Callable[[str], aiohttp.ClientSession] | None") -> "_Sdk":
        """Raises Retryable where Unleash does not answer; the SDK itself would pretend to be ready."""
        client_class, silently = await asyncio.to_thread(_imported)
        memory = Memory()
        client = client_class(
            url=f"{url}/api",
            app_name="linnet-witness",
            refresh_interval=REFRESH,
            request_timeout=2,
            request_retries=0,
            disable_metrics=True,
            disable_registration=True,
            custom_headers={"Authorization": token},
            cache=memory,
            multiple_instance_mode=silently,
        )
        try:
            if session is not None:
                client._transport._session = session(url)  # noqa: SLF001 - the SDK takes no session, no CA and no proxy
            async with asyncio.timeout(START):
                await client.initialize_client()
        except BaseException as error:
            await client.destroy()
            if isinstance(error, TimeoutError):
                raise Retryable(f"the witness: Unleash at {url} did not answer within {START:g} s") from None
            if isinstance(error, OSError):
                raise Retryable(f"the witness: {error}") from None
            raise
        return cls(client, memory)

    async def close(self) -> None:
        await self._client.destroy()

    def sight(self, flag: str) -> Sight | None:
        """What it has now; None before the first answer, or where the token's project has no such flag."""
        raw = self._memory.get(_FEATURES) or ""
        if raw != self._decoded[0]:
            features = msgspec.json.decode(raw).get("features", [])
            self._decoded = (raw, {item["name"]: item for item in features})
        found = self._decoded[1].get(flag)
        if found is None:
            return None
        strategies = found.get("strategies") or []
        return Sight(bool(found.get("enabled")), strategies, lambda context: bool(self._client.is_enabled(flag, context)))


def _imported() -> tuple[Any, Any]:
    from UnleashClient.clients.async_unleash_client import AsyncUnleashClient
    from UnleashClient.utils import InstanceAllowType

    # A poll that fails is no news of ours: what it means is said by the step that waits.
    logging.getLogger("UnleashClient").setLevel(logging.CRITICAL)
    return AsyncUnleashClient, InstanceAllowType.SILENTLY_ALLOW
