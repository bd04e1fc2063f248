"""Whether a metric source answers, asked before a release: one that nothing can judge must not be started.

Asked only where a Canary is at rest, of a Prometheus only (pods that are scraped come and go), and seldom while it answers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from analyzers.errors import AnalysisError
from analyzers.metrics import Selector
from analyzers.sources import standing
from analyzers.sources.protocol import Failure, Query
from daemon.control import objects as ours
from daemon.control.http import Http
from daemon.control.resolved import Resolved
from daemon.control.secrets import SecretMissing, SecretReader
from daemon.control.sourcing import source_of
from daemon.kube.errors import KubeError
from daemon.rollout.model import Problem

FRESH: Final = 300.0
FAILING: Final = 10.0  # seconds after which a source that failed is asked again
DEADLINE: Final = 5.0


def untried(resolved: Resolved) -> str:
    """Of which sources of a release Linnet knows the vendor's word alone; empty where all were tried on a running server."""
    named = {f"MetricSource {u.item.name}": standing(u.item.spec.type, signed=_signed(u.item)) for u in resolved.sources}
    for check in resolved.checks:
        for metric in check.spec.metrics if check.spec is not None else ():
            if metric.provider.query is not None:
                kind, query = metric.provider.query
                named.setdefault(f"MetricSource {query.source_ref.name if query.source_ref else 'default'}", standing(kind))
    return "; ".join(f"{name} is {word}: not tried on a running server" for name, word in sorted(named.items()) if word != "live")


def _signed(item: ours.MetricSource) -> bool:
    return item.spec.prometheus is not None and item.spec.prometheus.sig_v4 is not None


class SourceProbe:
    """Remembers, for each MetricSource as it is written now, what it answered."""

    def __init__(
        self, http: Http, secrets: SecretReader, clock: Callable[[], float] = time.monotonic, now: Callable[[], float] = time.time
    ) -> None:
        self._http = http
        self._secrets = secrets
        self._clock = clock
        self._now = now
        self._known: dict[tuple[str, str], tuple[str, float, Problem | None]] = {}

    async def problem(self, item: ours.MetricSource) -> Problem | None:
        """Why nothing could be judged by this source; None where it answers."""
        if item.spec.type != "Prometheus":
            return None
        version = item.metadata.resource_version
        known = self._known.get(item.key)
        if known is not None and known[0] == version and self._clock() - known[1] < (FAILING if known[2] else FRESH):
            return known[2]
        found = await self._ask(item)
        self._known[item.key] = (version, self._clock(), found)
        return found

    async def _ask(self, item: ours.MetricSource) -> Problem | None:
        where = f"MetricSource {item.namespace}/{item.name}"
        try:
            source = await source_of(item, self._http, self._secrets)
            answers = await source.fetch([Query(selector=Selector("up"))], at=self._now(), window=60.0, deadline=DEADLINE)
        except SecretMissing as e:
            return Problem(reason="SecretMissing", message=f"{where}: {e}", way_out="create it, or correct the reference")
        except (AnalysisError, KubeError, ValueError) as e:
            return Problem(reason="MetricSourceInvalid", message=f"{where}: {e}", way_out="correct its spec")
        failed = next((a for a in answers if isinstance(a, Failure)), None)
        if failed is None:
            return None
        return Problem(
            reason="MetricSourceUnreachable",
            message=f"{where} does not answer: {failed.message}",
            way_out="correct its url and credentials, or wait until it is back; no release starts without it",
        )
