"""The `AnalysisRun` of a revision: the stored evidence, written whole, bounded, a few kept."""

import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from analyzers.evidence import EvidenceLog
from daemon.api import names
from daemon.api.analysis import EVIDENCE_LIMIT
from daemon.control import objects as ours
from daemon.control.resolve import Resolved
from daemon.kube import errors
from daemon.kube.client import Client
from daemon.rollout.clock import stamp
from daemon.workloads.revisions import label_value

KEPT: Final = 5
LIMIT: Final = min(EVIDENCE_LIMIT, 128 * 1024)


class RunStore:
    def __init__(self, client: Client, now: Callable[[], float] = time.time) -> None:
        self._client = client
        self._now = now

    async def evidence(self, resolved: Resolved, revision: str) -> str | None:
        """The packed log of this rollout, as far as it was stored. An older rollout of the same revision is no evidence."""
        run = await self._client.find(ours.ANALYSIS_RUNS, resolved.canary.namespace, run_name(resolved.canary.name, revision))
        rollout = resolved.canary.status.rollout
        if run is None or rollout is None or run.spec.started_at != rollout.started_at or run.status.evidence is None:
            return None
        return run.status.evidence.data

    async def save(self, resolved: Resolved, revision: str, evidence: EvidenceLog) -> None:
        """Replaces what is stored. The run of an earlier try of the same revision is deleted first."""
        canary, rollout = resolved.canary, resolved.canary.status.rollout
        if rollout is None:
            return
        name = run_name(canary.name, revision)
        verdict = canary.status.verdict
        status: dict[str, Any] = {
            "metrics": msgspec.to_builtins(canary.status.metrics),
            "updatedAt": stamp(self._now()),
            "evidence": {"encoding": "zlib+base64", "data": evidence.pack(), "ticks": evidence.ticks},
        }
        if verdict is not None and verdict.revision == revision:
            status["verdict"] = msgspec.to_builtins(verdict)
        patch = {"spec": {"startedAt": rollout.started_at}, "status": status}
        try:
            await self._client.merge_patch(ours.ANALYSIS_RUNS, canary.namespace, name, patch)
        except errors.NotFound:
            await self._client.create(ours.ANALYSIS_RUNS, canary.namespace, self._body(resolved, revision, status))
            await self._prune(canary)

    def _body(self, resolved: Resolved, revision: str, status: dict[str, Any]) -> dict[str, Any]:
        canary, rollout = resolved.canary, resolved.canary.status.rollout
        owner = {"apiVersion": names.API_VERSION, "kind": "Canary", "name": canary.name, "uid": canary.metadata.uid}
        return {
            "metadata": {
                "name": run_name(canary.name, revision),
                "namespace": canary.namespace,
                "labels": {names.OWNER: label_value(canary.name), names.REVISION: revision},
                "ownerReferences": [owner],
            },
            "spec": {
                "canaryRef": {"name": canary.name},
                "revision": revision,
                "startedAt": rollout.started_at if rollout else stamp(self._now()),
            },
            "status": status,
        }

    async def _prune(self, canary: ours.Canary) -> None:
        page = await self._client.list(ours.ANALYSIS_RUNS, canary.namespace, label_selector=f"{names.OWNER}={label_value(canary.name)}")
        runs = sorted(page.items, key=lambda r: r.metadata.creation_timestamp or "", reverse=True)
        for run in runs[KEPT:]:
            await self._client.delete(ours.ANALYSIS_RUNS, canary.namespace, run.name, uid=run.metadata.uid)


def run_name(canary: str, revision: str) -> str:
    return f"{canary}-{revision}"
