"""What commands need that look into the history of a service: its spec, and the Prometheus that remembers.

Neither needs Linnet to be installed: without a Canary its defaults are taken, without a MetricSource an address is given. With one, it is asked as the daemon
asks it.
"""

from __future__ import annotations

from typing import Final

import msgspec

from analyzers.collector import Resolution
from analyzers.errors import AnalysisError
from analyzers.metrics import AnyMetric
from analyzers.sources.prometheus import PrometheusSource
from daemon.api import sources as api
from daemon.api.canary import Analysis, CanarySpec, Metric, WorkloadRef
from daemon.api.defaults import effective, is_restarts, merge
from daemon.cli.asking import Asked, found
from daemon.cli.cluster import CliError, Cluster
from daemon.control import objects as ours
from daemon.control.http import Http
from daemon.control.resolved import Resolved, SourceUse
from daemon.control.secrets import SecretMissing, SecretReader
from daemon.control.sourcing import source_of
from daemon.control.trust import TrustError
from daemon.kube.errors import KubeError, NotFound
from daemon.kube.objects import Deployment, ObjectMeta

DEFAULT: Final = "default"


async def means(
    cluster: Cluster, deployment: Deployment, http: Http, *, asked: Asked, interval: float | None
) -> tuple[Resolved, PrometheusSource]:
    """The spec of the Deployment's Canary, if there is one, else what Linnet takes by itself; and whom to ask.

    Where its metrics name several sources, one of them is asked, and for its own metrics alone.
    """
    meta = ObjectMeta(name=deployment.name, namespace=deployment.namespace)
    canary = await _canary(cluster, deployment)
    spec = effective(await _merged(cluster, canary, asked.catalogue) if canary else CanarySpec(workload_ref=WorkloadRef(name=meta.name)))
    analysis = spec.analysis or Analysis()
    if interval is not None:
        analysis = msgspec.structs.replace(analysis, interval=f"{round(interval)}s")
    metrics = [m for m in analysis.metrics or () if not is_restarts(m)]
    if asked.url is not None:
        address = api.MetricSourceSpec(type="Prometheus", prometheus=api.PrometheusSource(url=asked.url))
        item, own = ours.MetricSource(metadata=meta, spec=address), metrics
    else:
        name, own = _chosen(metrics, asked.source)
        item = await source_named(cluster, meta.namespace, name, asked.catalogue)
    analysis = msgspec.structs.replace(analysis, metrics=[m for m in analysis.metrics or () if m in own or is_restarts(m)])
    spec = msgspec.structs.replace(spec, analysis=analysis)
    resolved = Resolved(
        canary=canary or ours.Canary(metadata=meta, spec=spec),
        spec=spec,
        deployment=deployment,
        pod_ratio=True,
        sources=(SourceUse(item=item, metrics=tuple(own)),),
    )
    return resolved, await opened(cluster, item, http)


async def opened(cluster: Cluster, item: ours.MetricSource, http: Http) -> PrometheusSource:
    """As the daemon asks it, its Secrets read with the rights of whoever asks."""
    where = f"MetricSource {item.namespace}/{item.name}"
    try:
        source = await source_of(item, http, SecretReader(cluster.client))
    except (SecretMissing, KubeError, AnalysisError, TrustError) as e:
        raise CliError(f"{where} cannot be asked: {e}") from e
    if not isinstance(source, PrometheusSource):
        raise CliError(f"{where} is of type {item.spec.type}, which remembers nothing: say whom to ask with an address")
    return source


async def source_named(cluster: Cluster, namespace: str, name: str, catalogue: str) -> ours.MetricSource:
    """Found as the daemon finds it."""
    item = await found(cluster, ours.METRIC_SOURCES, (namespace, catalogue), name)
    if item is None:
        raise CliError(f"there is no MetricSource {name} in {namespace} or {catalogue}: say whom to ask with --prometheus URL")
    return item


async def _canary(cluster: Cluster, deployment: Deployment) -> ours.Canary | None:
    try:
        known = await cluster.canaries(deployment.namespace)
    except NotFound:
        return None  # Linnet was never installed
    except KubeError as e:
        raise CliError(f"Canaries cannot be read: {e}") from e
    return next((c for c in known if c.spec.workload_ref is not None and c.spec.workload_ref.name == deployment.name), None)


async def _merged(cluster: Cluster, canary: ours.Canary, catalogue: str) -> CanarySpec:
    """Over its profile, which may be what names the sources."""
    if canary.spec.profile_ref is None:
        return canary.spec
    name = canary.spec.profile_ref.name
    profile = await found(cluster, ours.PROFILES, (canary.namespace, catalogue), name)
    if profile is None:
        raise CliError(f"CanaryProfile {name} of Canary {canary.namespace}/{canary.name} exists neither there nor in {catalogue}")
    return merge(canary.spec, profile.spec)


def _chosen(metrics: list[Metric], wanted: str | None) -> tuple[str, list[Metric]]:
    """The source to ask, and what is asked of it."""
    named: dict[str, list[Metric]] = {} if metrics else {wanted or DEFAULT: []}
    for metric in metrics:
        named.setdefault(metric.source_ref.name if metric.source_ref else DEFAULT, []).append(metric)
    if wanted is None and len(named) > 1:
        raise CliError(f"the metrics of this Canary are asked of {', '.join(named)}: say which with --source NAME")
    name = wanted or next(iter(named))
    if name not in named:
        raise CliError(f"no metric of this Canary is asked of a MetricSource {name}: there are {', '.join(named)}")
    return name, named[name]


def told(answer: Resolution[AnyMetric]) -> str:
    """Why a metric was not found: the server's word, or what was asked first; a preset has a dozen conventions."""
    if answer.failure is not None:
        return answer.failure.message
    more = len(answer.tried) - 2
    return "; ".join(answer.tried[:2]) + (f"; nor any of {more} other conventions" if more > 0 else "")
