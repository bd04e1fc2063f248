"""What the doctor asks of each Canary, source and notifier: does it find what it names, and does that answer?

The daemon's own parts do the asking, so what is fine here is fine there; nothing is written and nothing is sent.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from analyzers.collector import ArmTargets, resolve
from analyzers.errors import AnalysisError
from analyzers.metrics import parse_selector
from analyzers.presets import convention_of
from analyzers.sources import SOURCES, standing
from analyzers.sources.prometheus import PrometheusOptions
from analyzers.sources.protocol import Failure, MetricSource, Outcome, Query, ValueOutcome
from daemon.api.canary import Metric
from daemon.api.conditions import MISMATCH, UNMET
from daemon.api.status import FlagStatus
from daemon.cli.findings import Finding, bad, ok, warn
from daemon.cli.flaghooks import webhooks
from daemon.control import objects as ours
from daemon.control.caches import Caches
from daemon.control.catalogue import Catalogue
from daemon.control.flagging import FlagBoard
from daemon.control.flagsources import FlagSources
from daemon.control.http import Http
from daemon.control.measuring import baseline, candidates
from daemon.control.resolve import Resolver
from daemon.control.resolved import Resolved
from daemon.control.secrets import SecretMissing, SecretReader
from daemon.control.sourcing import prometheus_options, source_of, values_of
from daemon.kube.client import Client
from daemon.kube.errors import KubeError
from daemon.notify.errors import NotifyError
from daemon.notify.targets import parse
from daemon.workloads.revisions import Templates

DEADLINE: Final = 8.0  # seconds for one question to a source
MOST_NAMES: Final = 5
ASKED_BY_ARM: Final = {
    "Scrape": "pods are asked directly; see each Canary",
    "Web": "counts are asked for each version; see each Canary",
}


class Consultation:
    """One visit: each thing is asked once."""

    def __init__(self, client: Client, caches: Caches, catalogue: str) -> None:
        self._caches = caches
        self._http = Http()
        self._secrets = SecretReader(client)
        self._resolver = Resolver(caches, Catalogue(caches, catalogue), Templates())
        self._flags = FlagBoard(FlagSources(client, self._http, self._secrets), "doctor")

    async def run(self) -> list[Finding]:
        try:
            groups = await asyncio.gather(
                *(self._source(s) for s in sorted(self._caches.metric_sources.store, key=lambda s: s.key)),
                *(self._notifier(n) for n in sorted(self._caches.notifiers.store, key=lambda n: n.key)),
                *(self._canary(c) for c in sorted(self._caches.canaries.store, key=lambda c: c.key)),
            )
        finally:
            await self._http.close()
        return [finding for group in groups for finding in group]

    # Sources.

    async def _source(self, item: ours.MetricSource) -> list[Finding]:
        what = f"MetricSource {item.namespace}/{item.name}"
        try:
            if item.spec.type in ASKED_BY_ARM:
                return [ok(what, ASKED_BY_ARM[item.spec.type])]
            answer = await self._answer(item)
        except (SecretMissing, KubeError, AnalysisError, ValueError) as e:
            return [bad(what, str(e), "correct the object or its Secret")]
        if isinstance(answer, Failure):
            return [bad(what, f"{answer.kind}: {answer.message}", "check its url, credentials and the network from the daemon's pod")]
        told = _standing(item)
        return [ok(what, f"answers ({told})" if told else "answers")]

    async def _answer(self, item: ours.MetricSource) -> Outcome | ValueOutcome:
        """As the judge asks where it can, else as a template does."""
        if SOURCES[item.spec.type].counters is None:
            values = await values_of(item, self._http, self._secrets)
            return await values.value(SOURCES[item.spec.type].probe, at=time.time(), deadline=DEADLINE)
        source = await source_of(item, self._http, self._secrets)
        (answer,) = await source.fetch([Query(selector=parse_selector("up"))], at=time.time(), window=300.0, deadline=DEADLINE)
        return answer

    async def _notifier(self, item: ours.Notifier) -> list[Finding]:
        what = f"Notifier {item.namespace}/{item.name}"
        try:
            target = parse(await self._secrets.read(item.namespace, item.spec.url_secret_ref))
        except (SecretMissing, KubeError, NotifyError) as e:
            return [bad(what, str(e), f"then try it: linnet notify test {item.name} -n {item.namespace}")]
        return [ok(what, f"{target.label}; not sent to: linnet notify test {item.name} -n {item.namespace}")]

    # Canaries.

    async def _canary(self, item: ours.Canary) -> list[Finding]:
        what = f"Canary {item.namespace}/{item.name}"
        resolved = await self._resolver.read(item)
        found = [bad(what, p.message, p.way_out or "see linnet status") for p in resolved.problems]
        if found or resolved.deployment is None:
            return found or [bad(what, f"Deployment {resolved.spec.workload} does not exist", "create it, or delete this Canary")]
        found += self._routes(what, resolved)
        found += await self._metrics(what, resolved)
        found += await self._flag_views(what, resolved)
        return found or [ok(what, "nothing to ask")]

    def _routes(self, what: str, resolved: Resolved) -> list[Finding]:
        if resolved.pod_ratio:
            return [ok(what, "released by share of pods: no route is needed")]
        found = []
        for scope in resolved.scopes:
            view = self._caches.routers.of(scope).view(scope, ())
            if view is None or not view.accepted:
                said = view.problem if view is not None else "is gone"
                found.append(bad(what, f"{scope.route}: {said}", "a release waits until its gateway has taken it"))
            else:
                found.append(ok(what, f"{scope.route} is taken by its gateway"))
        return found

    async def _metrics(self, what: str, resolved: Resolved) -> list[Finding]:
        found: list[Finding] = []
        for use in resolved.sources:
            arm = baseline(self._caches, resolved, use.item)
            if arm is None:
                continue
            try:
                source = await source_of(use.item, self._http, self._secrets)
            except (SecretMissing, KubeError, ValueError) as e:
                found.append(bad(what, str(e), "correct the MetricSource or its Secret"))
                continue
            found += [await self._metric(what, m, resolved, source, (arm, use.item)) for m in use.metrics]
        return found

    async def _metric(
        self, what: str, metric: Metric, resolved: Resolved, source: MetricSource, asked: tuple[ArmTargets, ours.MetricSource]
    ) -> Finding:
        arm, item = asked
        try:
            answer = await resolve(source, candidates(metric, resolved), arm, now=time.time(), deadline=DEADLINE)
        except (AnalysisError, ValueError) as e:
            return bad(what, f"metric {metric.name}: {e}", "linnet lint says the same")
        if answer.metric is not None:
            convention = convention_of(metric.preset, answer.metric) if metric.preset else None
            told = (
                "" if convention is None else f" ({convention.name}{'' if convention.tried else ', a convention not tried on a real one'})"
            )
            return ok(what, f"metric {metric.name}: found {answer.metric.anchor}{told}")
        if answer.failure is not None:
            return bad(what, f"metric {metric.name}: {answer.failure.message}", "a release would wait for data: NoData")
        near = await self._names(item)
        way_out = "count requests in the app, or give spec.analysis.metrics a ratio of your own counters" + near
        return warn(what, f"metric {metric.name} has no samples of the stable pods: {'; '.join(answer.tried)}", way_out)

    async def _names(self, item: ours.MetricSource) -> str:
        """The last resort: which counters the server has for requests at all, by prometheus-api-client."""
        if item.spec.prometheus is None:
            return ""
        try:
            options = await prometheus_options(item, self._secrets)
            names = await asyncio.wait_for(asyncio.to_thread(_all_metrics, options), DEADLINE + 2)
        except Exception:  # noqa: BLE001 - a hint that cannot be had is no finding; the library raises what requests raises
            return ""
        near = sorted((n for n in names if n.endswith(("_total", "_count")) and ("request" in n or "http" in n)), key=_likely)
        return f"; this server has {', '.join(near[:MOST_NAMES])}" if near else "; this server has no counter that speaks of requests"

    async def _flag_views(self, what: str, resolved: Resolved) -> list[Finding]:
        found = []
        for view in await self._flags.views(resolved) if resolved.flags else ():
            if view.error:
                found.append(bad(what, f"flag {view.key} of {view.source}: {view.error}", "correct the flag or its FlagSource"))
            else:
                found.append(ok(what, f"flag {view.key} is there at {view.source}"))
        found += await webhooks(what, (use.source for use in resolved.flags), self._secrets)
        return found + [f for status in resolved.canary.status.flags if (f := _unmet(what, status)) is not None]


def _unmet(what: str, flag: FlagStatus) -> Finding | None:
    """A flag of the release under way that nobody met, or not as often as was set."""
    usage = flag.usage
    if usage is None or usage.found not in (UNMET, MISMATCH):
        return None
    if usage.found == MISMATCH:
        return warn(what, usage.message, "look at the strategies of people, and whether the app gives its SDK what the flag sticks to")
    way_out = (
        "hand LINNET_TRACK to the SDK as the property track (docs: how-to/flags-unleash)" if usage.no else "see that the new code asks"
    )
    return warn(what, usage.message, f"{way_out}; and that its SDK reports metrics")


def _standing(item: ours.MetricSource) -> str:
    """How far Linnet was tried with such a server, where that is not on one that runs; what only speaks like Prometheus is not seen."""
    signed = item.spec.prometheus is not None and item.spec.prometheus.sig_v4 is not None
    told = standing(item.spec.type, signed=signed)
    return "" if told == "live" else f"{told}: not tried on a running server"


def _likely(name: str) -> tuple[bool, str]:
    """Counters of requests before those of their bytes and seconds, which the same exporters have too."""
    return (any(word in name for word in ("bytes", "duration", "seconds")), name)


def _all_metrics(options: PrometheusOptions) -> list[str]:
    from prometheus_api_client.prometheus_connect import PrometheusConnect

    headers = dict(options.headers) | ({"Authorization": f"Bearer {options.bearer_token}"} if options.bearer_token else {})
    login: dict[str, Any] = {"auth": (options.username, options.password)} if options.username else {}
    server = PrometheusConnect(url=options.url.rstrip("/"), headers=headers, timeout=int(DEADLINE), **login)
    found: list[str] = server.all_metrics()
    return found
