"""What commands need that look into the history of a service: its spec, and the Prometheus that remembers.

Neither needs Linnet to be installed: without a Canary its defaults are taken, without a MetricSource an address is given.
"""

from __future__ import annotations

import msgspec

from analyzers.collector import Resolution
from analyzers.metrics import AnyMetric
from analyzers.sources.protocol import MetricSource
from daemon.api.canary import Analysis, CanarySpec, WorkloadRef
from daemon.api.defaults import effective, is_restarts
from daemon.api.sources import MetricSourceSpec, PrometheusSource
from daemon.cli.cluster import CliError, Cluster
from daemon.control import objects as ours
from daemon.control.http import Http
from daemon.control.resolved import Resolved, SourceUse
from daemon.control.secrets import SecretReader
from daemon.control.sourcing import source_of
from daemon.kube.errors import KubeError, NotFound
from daemon.kube.objects import Deployment, ObjectMeta


async def means(
    cluster: Cluster, deployment: Deployment, http: Http, *, url: str | None, interval: float | None
) -> tuple[Resolved, MetricSource]:
    """The spec of the Deployment's Canary, if there is one, else what Linnet takes by itself; and whom to ask."""
    meta = ObjectMeta(name=deployment.name, namespace=deployment.namespace)
    item: ours.MetricSource | None
    try:
        known = [
            c
            for c in await cluster.canaries(deployment.namespace)
            if c.spec.workload_ref is not None and c.spec.workload_ref.name == deployment.name
        ]
        item = None if url else await cluster.client.find(ours.METRIC_SOURCES, deployment.namespace, "default")
    except NotFound:
        known, item = [], None
    except KubeError as e:
        raise CliError(f"Canaries and MetricSources cannot be read: {e}") from e
    if url is not None:
        item = ours.MetricSource(metadata=meta, spec=MetricSourceSpec(type="Prometheus", prometheus=PrometheusSource(url=url)))
    if item is None or item.spec.type != "Prometheus":
        raise CliError("there is no MetricSource `default` of type Prometheus here: say whom to ask with --prometheus URL")
    spec = effective(known[0].spec if known else CanarySpec(workload_ref=WorkloadRef(name=deployment.name)))
    analysis = spec.analysis or Analysis()
    if interval is not None:
        analysis = msgspec.structs.replace(analysis, interval=f"{round(interval)}s")
    canary = known[0] if known else ours.Canary(metadata=meta, spec=spec)
    spec = msgspec.structs.replace(spec, analysis=analysis)
    resolved = Resolved(
        canary=canary,
        spec=spec,
        deployment=deployment,
        pod_ratio=True,
        sources=(SourceUse(item=item, metrics=tuple(m for m in analysis.metrics or () if not is_restarts(m))),),
    )
    return resolved, await source_of(item, http, SecretReader(cluster.client))


def told(answer: Resolution[AnyMetric]) -> str:
    """Why a metric was not found: the server's word, or what was asked first; a preset has a dozen conventions."""
    if answer.failure is not None:
        return answer.failure.message
    more = len(answer.tried) - 2
    return "; ".join(answer.tried[:2]) + (f"; nor any of {more} other conventions" if more > 0 else "")
