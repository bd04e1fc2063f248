"""`linnet lint --live`: what the queries of manifests return today, asked of the Prometheus that a release would ask, as it would be asked.

A query can be sound and still say nothing: of a service of another name, of a sum without pods, of a counter that is born with the first
error. Each of these shows only where the data are, and best before the first release waits for them.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import msgspec

from analyzers.channels import BASELINE
from analyzers.collector import ArmTargets, resolve
from analyzers.errors import AnalysisError
from analyzers.metrics import AnyMetric, Matcher, MatchOp, RatioMetric
from analyzers.series import GAP, AggregatedCounterError, target_of
from analyzers.sources.prometheus import PrometheusOptions, PrometheusSource
from analyzers.sources.protocol import Failure, FailureKind, Outcome, Partial, Query, Samples
from daemon.api import templates
from daemon.api.analysis import AnalysisTemplateSpec, TemplateMetric
from daemon.api.canary import CanarySpec, Metric
from daemon.api.defaults import effective, is_restarts
from daemon.cli.advice import divided
from daemon.cli.cluster import Access, CliError, connected
from daemon.cli.past import opened, source_named, told
from daemon.control import objects as ours
from daemon.control.http import Http
from daemon.control.measuring import candidates
from daemon.control.resolved import Resolved
from daemon.kube.errors import KubeError
from daemon.kube.objects import ObjectMeta

DEADLINE: Final = 20.0
AWAY: Final = frozenset({FailureKind.UNREACHABLE, FailureKind.TIMEOUT, FailureKind.UNAUTHORIZED, FailureKind.FORBIDDEN})
SOURCE_WORDS: Final = ("metricsource", "metricsources", "metricsources.linnet.dev")
_ALL: Final = ("all(", "any(", "len(", "#")


class Found(NamedTuple):
    """One finding; `warning`: a release would run, perhaps on less than its owner thinks."""

    path: str
    reason: str
    message: str
    warning: bool = False


class SourceAway(Exception):
    """The server could not be asked at all: nothing is known of the queries."""


class Server(NamedTuple):
    """Whom to ask: an address, or `metricsource/NAME` of a cluster, as a release in `namespace` would find it."""

    target: str
    access: Access
    namespace: str
    catalogue: str


async def look(bodies: list[dict[str, Any]], server: Server, values: Mapping[str, str]) -> list[list[Found]]:
    """For each object (an AnalysisTemplate or a Canary; others have none) what its queries return now."""
    async with _asked(server) as source:
        live = _Live(source, values, server.namespace)
        return [[found async for found in live.of(body)] for body in bodies]


@asynccontextmanager
async def _asked(server: Server) -> AsyncIterator[PrometheusSource]:
    """With the credentials of a MetricSource, where one is named; those are read with the rights of whoever asks."""
    kind, slash, name = server.target.partition("/")
    http = Http()
    try:
        if slash and kind.lower() in SOURCE_WORDS:
            async with connected(server.access) as cluster:
                item = await source_named(cluster, server.namespace, name, server.catalogue)
                yield await opened(cluster, item, http)
        else:
            yield PrometheusSource(PrometheusOptions(url=server.target), http)
    except (CliError, KubeError) as e:
        raise SourceAway(str(e)) from e
    finally:
        await http.close()


class _Live:
    def __init__(self, source: PrometheusSource, values: Mapping[str, str], namespace: str) -> None:
        self._source, self._given, self._namespace = source, values, namespace

    async def of(self, body: dict[str, Any]) -> AsyncIterator[Found]:
        if body.get("kind") == "AnalysisTemplate":
            spec = msgspec.convert(body["spec"], AnalysisTemplateSpec)
            for index, metric in enumerate(spec.metrics):
                if metric.provider.prometheus is not None:
                    async for found in self._query(spec, metric, f"spec.metrics[{index}].provider.prometheus.query"):
                        yield found
        elif body.get("kind") == "Canary":
            async for found in self._canary(body):
                yield found

    # Templates.

    async def _query(self, spec: AnalysisTemplateSpec, metric: TemplateMetric, path: str) -> AsyncIterator[Found]:
        values = {a.name: a.value for a in spec.args or [] if a.value is not None} | dict(self._given)
        try:
            filled = templates.fill(metric, values)
        except AnalysisError as e:
            yield Found(path, "ArgMissing", f"{e}; say what a release would give: --arg NAME=VALUE")
            return
        query = filled.provider.prometheus.query if filled.provider.prometheus is not None else ""
        answer = await self._source.value(query, at=time.time(), deadline=DEADLINE)
        if isinstance(answer, Failure):
            yield _failed(path, answer)
            return
        numbers = answer.value if isinstance(answer.value, list) else [answer.value]
        conditions = f"{filled.success_condition or ''}{filled.failure_condition or ''}"
        if not numbers:
            yield await self._nothing(path, query)
        elif any(math.isnan(n) for n in numbers):
            yield Found(path, "NaNToday", "is NaN now: 0/0, since nothing was counted in its window; say in onNoData what that should be")
        elif len(numbers) > 1 and filled.threshold_range is None and not any(word in conditions for word in _ALL):
            text = f"returns {len(numbers)} series, and its condition looks at one of them, by chance: take their sum() or max(), or ask all(result, # < 1)"
            yield Found(path, "ManySeries", text)

    async def _nothing(self, path: str, query: str) -> Found:
        """An absent numerator over a denominator that is there is the classic: no error happened yet."""
        numerator, slash, denominator = divided(query)
        if slash:
            above, below = [await self._source.value(q, at=time.time(), deadline=DEADLINE) for q in (numerator, denominator)]
            if not isinstance(above, Failure) and above.value == [] and not isinstance(below, Failure) and below.value:
                text = (
                    "returns nothing: the numerator has no series, though the denominator has; append `or on() vector(0)` to the numerator"
                )
                return Found(path, "AbsentErrors", text)
        return Found(path, "NothingToday", "returns nothing now: look at its names and labels, or say in onNoData what that should be")

    # Canaries.

    async def _canary(self, body: dict[str, Any]) -> AsyncIterator[Found]:
        spec = effective(msgspec.convert(body["spec"], CanarySpec))
        metadata = body.get("metadata") or {}
        meta = ObjectMeta(name=str(metadata.get("name", "")), namespace=str(metadata.get("namespace") or self._namespace))
        resolved = Resolved(canary=ours.Canary(metadata=meta, spec=spec), spec=spec, deployment=None, pod_ratio=True)
        pods = Matcher("pod", MatchOp.REGEX, f"{spec.workload or meta.name}-[a-z0-9]+-[a-z0-9]+")
        arm = ArmTargets(name=BASELINE, matchers=(Matcher("namespace", MatchOp.EQUAL, meta.namespace), pods))
        metrics = (spec.analysis.metrics if spec.analysis else None) or []
        for index, metric in enumerate(metrics):
            if not is_restarts(metric):
                async for found in self._metric(metric, resolved, arm, f"spec.analysis.metrics[{index}]"):
                    yield found

    async def _metric(self, metric: Metric, resolved: Resolved, arm: ArmTargets, path: str) -> AsyncIterator[Found]:
        meant = candidates(metric, resolved)
        answer = await resolve(self._source, meant, arm, now=time.time(), deadline=DEADLINE)
        if answer.failure is not None:
            yield _failed(path, answer.failure)
        elif answer.metric is None:
            yield await self._unmatched(path, meant[0], told(answer), preset=metric.preset is not None)
        elif isinstance(answer.metric, RatioMetric):
            selector = answer.metric.where("errors", BASELINE, arm.matchers)
            (errors,) = await self._ask(Query(selector=selector))
            if isinstance(errors, Failure):
                yield _failed(path, errors)
            elif not isinstance(errors, Samples | Partial):
                text = f"{answer.metric.errors} has no series today: nothing was counted yet, which is fine, or a label is called otherwise"
                yield Found(path, "AbsentErrors", text, warning=True)

    async def _unmatched(self, path: str, metric: AnyMetric, why: str, *, preset: bool) -> Found:
        """Nothing for the pods of this release; perhaps for others, or for nobody in particular."""
        (bare,) = await self._ask(Query(selector=metric.anchor))
        if isinstance(bare, Failure):
            return _failed(path, bare)
        series = bare.series if isinstance(bare, Samples | Partial) else ()
        try:
            for one in series:
                target_of(one.labels)
        except AggregatedCounterError as e:
            return Found(path, "AggregatedCounter", str(e))
        if series and not preset:
            return Found(path, "OtherPods", f"{metric.anchor} is there, but not of the pods of this release: {why}")
        return Found(path, "NothingToday", f"has no samples of the stable pods now: {why}")

    async def _ask(self, query: Query) -> list[Outcome]:
        return await self._source.fetch([query], at=time.time(), window=GAP, deadline=DEADLINE)


def _failed(path: str, failure: Failure) -> Found:
    if failure.kind in AWAY:
        raise SourceAway(f"{failure.kind}: {failure.message}")
    return Found(path, str(failure.kind), failure.message)
