"""Plays the releases: does what a user would do with kubectl, and waits for what the daemon makes of it.

Everything it learns comes from the cluster's API and from the load generator; whoever shows it is told of each change.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import aiohttp
import msgspec

from daemon.api import names
from daemon.api.status import CanaryStatus, HistoryEntry, MetricStatus
from daemon.cli.demo import account
from daemon.cli.demo.account import Odds, Result
from daemon.cli.demo.objects import WEBHOOKS
from daemon.cli.demo.script import APP, HOST, NAMESPACE, DemoOptions, Outcome, Release, releases
from daemon.cli.demo.stage import Stage
from daemon.cli.trouble import DemoError
from daemon.control.objects import CANARIES, Canary
from daemon.kube.informer import Reflector
from daemon.kube.objects import HTTPRoute
from daemon.kube.resources import DEPLOYMENTS, HTTP_ROUTES
from daemon.kube.store import Store
from daemon.sandbox.load import Load, LoadOptions
from daemon.sandbox.load import Outcome as Answer

POSTED: Final = 5.0  # seconds for a message to reach the inbox
READY: Final = 60.0  # seconds until the shop serves and is adopted
STRATEGIC: Final = "application/strategic-merge-patch+json"
AT_REST: Final = frozenset({"Idle", "Held"})


class Scene(msgspec.Struct, kw_only=True):
    """What there is to show at this moment."""

    release: Release | None = None
    began: float = 0.0
    before: Counter[Answer] = msgspec.field(default_factory=Counter)
    results: list[Result] = msgspec.field(default_factory=list)
    status: CanaryStatus = CanaryStatus()
    weight: int = 0
    metrics: list[MetricStatus] = msgspec.field(default_factory=list)


class Play:
    """One performance. `on_change` is called after every change, and must return at once."""

    def __init__(self, stage: Stage, options: DemoOptions, on_change: Callable[["Play"], None]) -> None:
        self.stage = stage
        self.options = options
        self.scene = Scene()
        self.load = Load(LoadOptions(url=f"{stage.url}/checkout", host=HOST, rate=options.rate))
        self.started = time.monotonic()
        self._on_change = on_change
        self._canaries: Store[Canary] = Store()
        self._routes: Store[HTTPRoute] = Store()
        self._changed = asyncio.Event()

    @property
    def rows(self) -> tuple[account.Row, ...]:
        """The table of the release under way."""
        return account.rows(account.since(self.scene.before, self.load.outcomes))

    # What the cluster says.

    def watch(self, group: asyncio.TaskGroup) -> list[asyncio.Task[Any]]:
        """Starts what runs beside the play; cancel the tasks to end it."""
        self._canaries.add_handler(lambda _, new: self._canary(new))
        self._routes.add_handler(lambda _, new: self._route(new))
        client = self.stage.client
        return [
            group.create_task(Reflector(client, CANARIES, self._canaries, namespace=NAMESPACE).run()),
            group.create_task(Reflector(client, HTTP_ROUTES, self._routes, namespace=NAMESPACE).run()),
            group.create_task(self.stage.guard()),
            group.create_task(self._mail()),
        ]

    async def _mail(self) -> None:
        """News from the inbox is news."""
        while True:
            await self.stage.inbox.wait_for(len(self.stage.inbox.posts) + 1)
            self._tell()

    def _canary(self, found: Canary | None) -> None:
        if found is None or found.name != APP:
            return
        self.scene.status = found.status
        if found.status.rollout is not None and found.status.metrics:
            self.scene.metrics = found.status.metrics
        self._tell()

    def _route(self, found: HTTPRoute | None) -> None:
        if found is None or found.name != APP:
            return
        backends = [b for rule in msgspec.json.decode(found.spec.rules) for b in rule.get("backendRefs") or ()]
        self.scene.weight = next((b.get("weight", 1) for b in backends if b["name"] == names.canary_service(APP)), 0)
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._on_change(self)

    async def _until(self, seconds: float, ask: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not ask():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            waiting = self.scene.status.waiting
            hint = f"; the Canary says: {waiting.message}. {waiting.way_out}" if waiting else ""
            raise DemoError(f"{what} after {seconds:.0f} s{hint}") from None

    # The acts.

    async def ready(self) -> None:
        """Until the shop answers through the gateway and Linnet has recorded its stable version."""
        await self._served()
        await self._until(READY, lambda: self.scene.status.phase == "Idle", "Linnet did not adopt the shop")

    async def _served(self) -> None:
        ends = time.monotonic() + READY
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5), headers={"Host": HOST}) as http:
            while True:
                try:
                    async with http.get(self.stage.url) as response:
                        if response.status == 200:
                            return
                        said = f"HTTP {response.status}"
                except (aiohttp.ClientError, TimeoutError) as error:
                    said = type(error).__name__
                if time.monotonic() > ends:
                    raise DemoError(f"the shop did not answer through the gateway within {READY:.0f} s: {said}")
                await asyncio.sleep(0.1)

    async def releases(self) -> None:
        """Both, one after the other."""
        for release in releases(self.options):
            self.scene.results.append(await self._play(release))
            self.scene.release = None
            self._tell()

    async def _play(self, release: Release) -> Result:
        scene = self.scene
        await self._announce(release)
        known = len(scene.status.history)
        scene.release, scene.began, scene.before, scene.metrics = release, time.monotonic(), Counter(self.load.outcomes), []
        await self._patch(_set_image(release), "kubectl-set")
        ended: HistoryEntry | None = None
        try:
            async with asyncio.timeout(self.options.patience):
                while len(scene.status.history) <= known or scene.status.phase not in AT_REST:
                    self._changed.clear()
                    await self._changed.wait()
            ended = scene.status.history[0]
        except TimeoutError:
            pass  # undecided is an outcome too, and is reported as one
        result = self._result(release, ended)
        await self._posted(result)
        return result

    async def _posted(self, result: Result) -> None:
        """The news of it leave the daemon a moment after the decision; what did not arrive by then will not be shown."""
        head = result.sentence.partition(":")[0]

        def there() -> bool:
            return len({post.kind for post in self.stage.inbox.posts if head in post.text}) >= len(WEBHOOKS)

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POSTED):
                while not there():
                    self._changed.clear()
                    await self._changed.wait()

    async def _announce(self, release: Release) -> None:
        """`kubectl annotate`: which flag the release opens; before the image, since a rollout keeps the spec it started with."""
        wanted = [release.flag] if release.announced else []
        value = ",".join(wanted) or None
        await self._patch({"metadata": {"annotations": {names.FLAGS: value}}}, "kubectl-annotate")

        def taken() -> bool:
            found = self._canaries.get(NAMESPACE, APP)
            return found is not None and [f.key for f in found.spec.flags or []] == wanted

        await self._until(30.0, taken, f"the Canary did not follow the annotation {names.FLAGS}")

    async def _patch(self, body: dict[str, Any], manager: str) -> None:
        path = DEPLOYMENTS.path(NAMESPACE, APP)
        params = {"fieldManager": manager}
        encoded = msgspec.json.encode(body)
        await self.stage.client.transport.request("PATCH", path, params=params, body=encoded, content_type=STRATEGIC)

    def _result(self, release: Release, ended: HistoryEntry | None) -> Result:
        scene = self.scene
        rows = self.rows
        outcome: Outcome = "Undecided"
        if ended is not None and ended.outcome in ("Promoted", "RolledBack"):
            outcome = "Promoted" if ended.outcome == "Promoted" else "RolledBack"
        saved = None
        if outcome == "RolledBack":
            first, last = self.load.spans.get(release.tag, (1, 0))
            saved = account.saved(rows, release, asked=last - first + 1, rate=self.options.rate)
        waiting = scene.status.waiting
        told = ended.sentence if ended else scene.status.sentence or (waiting.message if waiting else "no decision")
        return Result(
            release=release,
            outcome=outcome,
            revision=ended.revision if ended else scene.status.observed_revision or "",
            seconds=round(time.monotonic() - scene.began, 1),
            sentence=told,
            odds=tuple(Odds(metric=m.name, worse=m.odds_worse, fine=m.odds_fine, bound=m.bound) for m in scene.metrics),
            rows=rows,
            saved=saved,
        )


def _set_image(release: Release) -> dict[str, Any]:
    """`kubectl set image deploy/shop shop=shop:v2`."""
    return {"spec": {"template": {"spec": {"containers": [{"name": APP, "image": release.image}]}}}}
